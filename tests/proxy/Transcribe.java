import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;

/** Uploads a recording with the JDK's default client, which offers HTTP/2 as h2c over http://. */
public class Transcribe {
    public static void main(String[] arguments) throws Exception {
        String base = arguments[0];
        var form = new ByteArrayOutputStream();
        form.write(("--bb\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n"
            + "Content-Type: audio/wav\r\n\r\n").getBytes());
        form.write(Files.readAllBytes(Path.of(arguments[1])));
        form.write("\r\n--bb--\r\n".getBytes());
        byte[] body = form.toByteArray();
        var chunked = BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body));
        post("length", base, BodyPublishers.ofByteArray(body));
        post("chunked", base, chunked);
        var get = HttpRequest.newBuilder(URI.create(base + "/v1/models")).build();
        report("get", get);
    }

    static void post(String name, String base, BodyPublisher body) throws Exception {
        report(name, HttpRequest.newBuilder(URI.create(base + "/v1/audio/transcriptions"))
            .header("Content-Type", "multipart/form-data; boundary=bb").POST(body).build());
    }

    static void report(String name, HttpRequest request) throws Exception {
        var answer = HttpClient.newHttpClient().send(request, BodyHandlers.ofString());
        System.out.println(answer.statusCode() + " " + name);
        if (answer.statusCode() != 200) System.err.println(answer.body());
    }
}
