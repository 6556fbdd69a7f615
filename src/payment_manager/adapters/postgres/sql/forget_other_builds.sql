-- forget_other_builds: what was set aside of copies that nobody asks any more.
DELETE FROM projection_rejects WHERE build <> ALL(ARRAY(SELECT build FROM projections))
