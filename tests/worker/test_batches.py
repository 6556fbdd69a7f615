"""A poll is a batch: one transaction, its offsets after it, and order kept."""

from tests.worker.flow import Flow, turned


async def test_a_poll_is_one_transaction_and_its_offsets_follow(flow: Flow) -> None:
    flow.orders(range(400))
    async with flow.consuming() as consume:
        await turned(consume, 400)
    assert flow.committed() == 400  # leaving waits for commits on their way
    assert await flow.applied() == 400
    batches = flow.metric("webhook_batch_size_count")
    assert batches is not None
    assert batches <= 4
