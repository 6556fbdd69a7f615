import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.opensearch.Version;
import org.opensearch.common.logging.LogConfigurator;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.PluginInfo;

/**
 * One OpenSearch node in this process, until SIGTERM.
 *
 * <p>OpenSearch is shipped as an archive, in which scripts and a folder of modules make a node; its
 * jars alone have no main class. This does what is left of theirs: settings from the command line
 * (NAME=VALUE each), the modules from the class path, the log to standard output.
 */
public final class SingleNode extends Node {
    private static final List<String> MODULES =
            List.of(
                    "org.opensearch.transport.Netty4ModulePlugin",
                    "org.opensearch.analysis.common.CommonAnalysisModulePlugin",
                    "org.opensearch.painless.PainlessModulePlugin",
                    "org.opensearch.index.reindex.ReindexModulePlugin");

    private SingleNode(Environment environment, Collection<PluginInfo> modules) {
        super(environment, modules, false);
    }

    public static void main(String[] arguments) throws Exception {
        Settings.Builder builder = Settings.builder();
        for (String argument : arguments) {
            String[] setting = argument.split("=", 2);
            builder.put(setting[0], setting[1]);
        }
        Settings settings = builder.build();
        // Where a configuration would be read from; an empty folder says that there is none.
        Path config = Path.of(settings.get("path.home"), "config");
        Files.createDirectories(config);
        System.setProperty("opensearch.path.conf", config.toString());
        // Before any class of OpenSearch asks for a logger.
        LogConfigurator.registerErrorListener();
        LogConfigurator.setNodeName(settings.get("node.name"));
        LogConfigurator.configureWithoutConfig(settings);
        try {
            start(settings);
        } catch (Throwable failed) {
            failed.printStackTrace(System.out);
            System.exit(1); // threads that a half-started node has left would keep us alive
        }
    }

    private static void start(Settings settings) throws Exception {
        Environment environment =
                InternalSettingsPreparer.prepareEnvironment(
                        settings, Map.of(), null, () -> settings.get("node.name"));
        SingleNode node = new SingleNode(environment, MODULES.stream().map(SingleNode::module).toList());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(node)));
        node.start();
        Thread.currentThread().join(); // the node's own threads don't keep a process alive
    }

    private static void stop(Node node) {
        try {
            node.close();
            node.awaitClose(10, TimeUnit.SECONDS);
        } catch (Exception failed) {
            failed.printStackTrace(System.out);
        }
    }

    private static PluginInfo module(String className) {
        return new PluginInfo(
                className, "module", "", Version.CURRENT, "21", className, null, List.of(), false);
    }
}
