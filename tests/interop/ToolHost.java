import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.security.Permission;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;

/**
 * Runs the main methods of Java tools in one JVM, one after the other: a line on stdin names the class, its stdin and its
 * words (base64 each), a line on stdout has the exit code, stdout and stderr. What a tool does after its first exit is
 * not seen, as if the process had ended there.
 */
public class ToolHost {
    static class Exited extends Error {
        Exited() {
            super(null, null, false, false);
        }
    }

    /** Takes what is written until the tool exits. */
    static class Sink extends OutputStream {
        final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

        @Override
        public synchronized void write(int one) {
            if (code == null) bytes.write(one);
        }

        @Override
        public synchronized void write(byte[] some, int offset, int length) {
            if (code == null) bytes.write(some, offset, length);
        }
    }

    static volatile Integer code;

    @SuppressWarnings("removal")
    public static void main(String[] none) throws Exception {
        PrintStream answers = System.out;
        System.setSecurityManager(new SecurityManager() {
            @Override
            public void checkExit(int status) {
                if (code == null) code = status;
                throw new Exited();
            }

            @Override
            public void checkPermission(Permission permission) {}
        });
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        String line;
        while ((line = lines.readLine()) != null) {
            List<byte[]> parts = new ArrayList<>();
            for (String part : line.split(" ", -1)) parts.add(Base64.getDecoder().decode(part));
            Sink out = new Sink(), err = new Sink();
            code = null;
            System.setIn(new ByteArrayInputStream(parts.get(1)));
            System.setOut(new PrintStream(out, true));
            System.setErr(new PrintStream(err, true));
            String[] words = new String[parts.size() - 2];
            for (int i = 0; i < words.length; i++) words[i] = new String(parts.get(i + 2), "UTF-8");
            int ended = run(new String(parts.get(0), "UTF-8"), words);
            System.out.flush();
            System.err.flush();
            Base64.Encoder encoder = Base64.getEncoder();
            answers.println(ended + " " + encoder.encodeToString(out.bytes.toByteArray()) + " "
                + encoder.encodeToString(err.bytes.toByteArray()));
            answers.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    static int run(String name, String[] words) throws Exception {
        Class<?> tool = Class.forName(name);
        if (name.equals("kafka.tools.ConsoleConsumer")) {
            // It counts on from one run to the next.
            Class<?> module = Class.forName(name + "$");
            module.getMethod("messageCount_$eq", int.class).invoke(module.getField("MODULE$").get(null), 0);
        }
        try {
            // As a command whose output is no terminal; Scala's println keeps the stream it first saw.
            Class<?> console = Class.forName("scala.Console$");
            Object module = console.getField("MODULE$").get(null);
            console.getMethod("setOutDirect", PrintStream.class).invoke(module, System.out);
            console.getMethod("setErrDirect", PrintStream.class).invoke(module, System.err);
            console.getMethod("setInDirect", java.io.BufferedReader.class)
                .invoke(module, new BufferedReader(new InputStreamReader(System.in)));
            tool.getMethod("main", String[].class).invoke(null, (Object) words);
        } catch (java.lang.reflect.InvocationTargetException thrown) {
            if (code == null) {
                System.err.print("Exception in thread \"main\" ");
                thrown.getCause().printStackTrace(System.err);
                return 1;
            }
        }
        return code == null ? 0 : code;
    }
}
