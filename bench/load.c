/* A load of MQTT devices over TLS, from one thread: what it asks of a server, and what the server's process paid.

   load connect -p PORT -d DEVICES -P PID [-v 12|13] [-c 32] [-t SECONDS] [-n COUNT]
   load publish -p PORT -d DEVICES -P PID [-c 200] [-f IN-FLIGHT] [-b BYTES] [-r RATE] [-t SECONDS]
   load idle    -p PORT -d DEVICES -P PID [-c 5000] [-t SECONDS]
   load flood   -p PORT -d DEVICES -P PID -r RATE [-a ADDRESSES] [-c 8000] [-t SECONDS]

   DEVICES is a folder: leaves.der (certificates one after another; the common name is the device id), issuer.der (the
   intermediate, sent with each leaf) and key.pem (one P-256 key for all: a server cannot tell). PID is the server's
   process, whose CPU time and resident memory are read at both ends of the measured part. `connect` is TCP, a full
   handshake, CONNECT, CONNACK, DISCONNECT, with `-c` of them at a time, for `-t` seconds or for `-n` connections, each
   device once and in order. `publish` keeps `-f` QoS 1 messages of `-b` bytes in flight on each of `-c` connections,
   or sends `-r` messages a second, each when it is due and from the next connection; 51 bytes are a JSON object.
   `idle` connects `-c` devices with clean session 0, subscribes as the SDKs do, waits, and looks at the memory.
   `flood` begins `-r` connections a second, whatever becomes of those before, from `-a` addresses in 127.0/16, each with
   a handshake and a CONNECT; at most `-c` are open, and nothing that the server does with them is an error.

   Prints one JSON object. Anything that goes wrong is a sentence on stderr and exit status 1. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* --- options ---------------------------------------------------------------------------------------------------- */

enum mode { CONNECT, PUBLISH, IDLE, FLOOD };

static struct {
    enum mode mode;
    int port, tls, connections, in_flight, body_bytes, addresses;
    double rate;
    pid_t server;
    const char *devices;
    double seconds;
    uint64_t count;
} options = {.tls = 13, .in_flight = 1, .body_bytes = 100, .addresses = 1, .seconds = 1};

/* Of a publish run, before the measured part. */
static const double WARM_UP_S = 0.3;
/* Handshakes at a time while connections are brought up. */
static const int OPENING = 64;
static const double OPEN_WITHIN_S = 120;
static const double ANSWER_WITHIN_S = 15;

/* --- what the server pays --------------------------------------------------------------------------------------- */

static double seconds_on(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now)) fail("cannot read the CPU time of process %d", (int)options.server);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static double now(void)
{
    return seconds_on(CLOCK_MONOTONIC);
}

/* CPU seconds of the server so far: user and system, every thread, also those that have ended. */
static double server_cpu(void)
{
    clockid_t clock;
    if (clock_getcpuclockid(options.server, &clock)) fail("there is no process %d", (int)options.server);
    return seconds_on(clock);
}

static long server_memory_kib(void)
{
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)options.server);
    FILE *file = fopen(path, "r");
    if (!file) fail("cannot open %s", path);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1) break;
    fclose(file);
    if (kib < 0) fail("no VmRSS in %s", path);
    return kib;
}

/* --- devices ---------------------------------------------------------------------------------------------------- */

struct device {
    X509 *leaf;
    char id[128];
};

static struct device *devices;
static int device_count;
static STACK_OF(X509) * issuers;
static EVP_PKEY *key;

static FILE *open_file(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", options.devices, name);
    FILE *file = fopen(path, "r");
    if (!file) fail("cannot open %s: %s", path, strerror(errno));
    return file;
}

static void load_devices(int wanted)
{
    FILE *file = open_file("leaves.der");
    X509 *leaf;
    devices = calloc(wanted, sizeof *devices);
    while (device_count < wanted && (leaf = d2i_X509_fp(file, NULL))) {
        struct device *device = &devices[device_count++];
        device->leaf = leaf;
        X509_NAME_get_text_by_NID(X509_get_subject_name(leaf), NID_commonName, device->id, sizeof device->id);
    }
    fclose(file);
    ERR_clear_error();
    if (!device_count) fail("no certificate in leaves.der");
    file = open_file("issuer.der");
    issuers = sk_X509_new_null();
    sk_X509_push(issuers, d2i_X509_fp(file, NULL));
    fclose(file);
    file = open_file("key.pem");
    key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    if (!key || !sk_X509_value(issuers, 0)) fail("issuer.der or key.pem cannot be read");
}

static SSL_CTX *make_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    int version = options.tls == 12 ? TLS1_2_VERSION : TLS1_3_VERSION;
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    SSL_CTX_set1_groups_list(context, "X25519:P-256");
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    return context;
}

/* --- connections ------------------------------------------------------------------------------------------------ */

enum state { FREE, TCP, HANDSHAKE, EXPECT_CONNACK, EXPECT_SUBACKS, OPEN };

struct connection {
    int socket;
    enum state state;
    struct device *device;
    SSL *ssl;
    double began;
    uint8_t in[1024];
    int in_bytes;
    uint8_t *out;
    int out_at, out_end, out_room;
    double *sent_at; /* by packet id */
    uint16_t *free_ids;
    int free_count;
    int subacks;
};

static const char *FILTERS[] = {
    "devices/%s/messages/devicebound/#",
    "$iothub/methods/POST/#",
    "$iothub/twin/res/#",
    "$iothub/twin/PATCH/properties/desired/#",
};
enum { FILTER_COUNT = sizeof FILTERS / sizeof *FILTERS };

static SSL_CTX *context;
static struct connection *connections;
static int poller;
static uint64_t started, accepted, acknowledged;
static int opening, open_count;
static bool publishing, measuring;

static float *latencies_ms;
static size_t latency_count, latency_room;

static void note_latency(double since)
{
    if (latency_count == latency_room) {
        latency_room = latency_room ? 2 * latency_room : 4096;
        latencies_ms = realloc(latencies_ms, latency_room * sizeof *latencies_ms);
    }
    latencies_ms[latency_count++] = (now() - since) * 1e3;
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double latency_at(double fraction)
{
    return latency_count ? latencies_ms[(size_t)(fraction * (latency_count - 1))] : 0;
}

static void queue(struct connection *c, const void *data, int size)
{
    if (c->out_at == c->out_end) c->out_at = c->out_end = 0;
    if (c->out_end + size > c->out_room) {
        c->out_room = 2 * (c->out_end + size);
        c->out = realloc(c->out, c->out_room);
    }
    memcpy(c->out + c->out_end, data, size);
    c->out_end += size;
}

static bool is_only_waiting(struct connection *c, int result)
{
    int error = SSL_get_error(c->ssl, result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

/* Whether everything is out. */
static bool flush(struct connection *c)
{
    while (c->out_at < c->out_end) {
        int written = SSL_write(c->ssl, c->out + c->out_at, c->out_end - c->out_at);
        if (written <= 0) {
            if (is_only_waiting(c, written)) return false;
            fail("'%s' cannot write: the server closed the connection", c->device->id);
        }
        c->out_at += written;
    }
    return true;
}

/* --- packets (MQTT 3.1.1) --------------------------------------------------------------------------------------- */

static uint8_t *put_text(uint8_t *at, const char *text)
{
    size_t size = strlen(text);
    *at++ = size >> 8;
    *at++ = size;
    memcpy(at, text, size);
    return at + size;
}

static void queue_packet(struct connection *c, uint8_t first, const uint8_t *body, int size)
{
    uint8_t header[5] = {first};
    int header_bytes = 1, rest = size;
    do {
        header[header_bytes++] = (rest & 127) | (rest > 127 ? 128 : 0);
        rest >>= 7;
    } while (rest);
    queue(c, header, header_bytes);
    queue(c, body, size);
}

static void send_connect(struct connection *c)
{
    static const uint16_t keep_alive_s = 1200;
    uint8_t body[512], *at = put_text(body, "MQTT");
    char user[256];
    *at++ = 4;
    *at++ = 0x80 | (options.mode == IDLE ? 0 : 2); /* user name; clean session */
    *at++ = keep_alive_s >> 8;
    *at++ = keep_alive_s & 0xff;
    at = put_text(at, c->device->id);
    snprintf(user, sizeof user, "localhost/%s/?api-version=2021-04-12", c->device->id);
    at = put_text(at, user);
    queue_packet(c, 0x10, body, at - body);
    c->state = EXPECT_CONNACK;
    flush(c);
}

static void send_subscribes(struct connection *c)
{
    for (int i = 0; i < FILTER_COUNT; i++) {
        uint8_t body[512] = {0, i + 1};
        char filter[256];
        snprintf(filter, sizeof filter, FILTERS[i], c->device->id);
        uint8_t *at = put_text(body + 2, filter);
        *at++ = 1;
        queue_packet(c, 0x82, body, at - body);
    }
    c->state = EXPECT_SUBACKS;
    flush(c);
}

static void send_publish(struct connection *c)
{
    static uint8_t body[65536];
    static const char text[] = "{\"temperature\":21.5,\"humidity\":40,\"sequence\":12345},";
    char topic[256];
    snprintf(topic, sizeof topic, "devices/%s/messages/events/", c->device->id);
    uint8_t *at = put_text(body, topic);
    uint16_t id = c->free_ids[--c->free_count];
    *at++ = id >> 8;
    *at++ = id;
    for (int i = 0; i < options.body_bytes; i++) *at++ = text[i % (sizeof text - 1)];
    c->sent_at[id] = now();
    queue_packet(c, 0x32, body, at - body);
}

static void publish_what_fits(struct connection *c)
{
    if (options.rate > 0) return;
    /* A write for each, as devices make them. */
    while (publishing && c->state == OPEN && c->free_count && c->out_at == c->out_end) {
        send_publish(c);
        flush(c);
    }
}

/* --- life of a connection --------------------------------------------------------------------------------------- */

static void begin(struct connection *c)
{
    int on = 1;
    c->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->socket < 0) fail("no socket: %s (ulimit -n)", strerror(errno));
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(c->socket, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    /* Eight source addresses, so that ports in TIME_WAIT do not run out. */
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002 + started % 8)};
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(options.port)};
    if (bind(c->socket, (void *)&from, sizeof from)) fail("bind: %s", strerror(errno));
    c->device = &devices[started++ % device_count];
    c->began = now();
    c->state = TCP;
    c->in_bytes = c->out_at = c->out_end = c->subacks = 0;
    opening++;
    if (connect(c->socket, (void *)&to, sizeof to) && errno != EINPROGRESS) fail("connect: %s", strerror(errno));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->socket, &event);
}

static void end(struct connection *c)
{
    static const uint8_t disconnect[] = {0xe0, 0};
    queue(c, disconnect, sizeof disconnect);
    flush(c);
    SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    close(c->socket);
    c->ssl = NULL;
    c->state = FREE;
}

static void is_open(struct connection *c)
{
    opening--;
    open_count++;
    c->state = OPEN;
    if (options.mode == CONNECT) {
        open_count--;
        end(c);
    } else if (options.mode == PUBLISH) {
        c->sent_at = calloc(options.in_flight + 1, sizeof *c->sent_at);
        c->free_ids = calloc(options.in_flight, sizeof *c->free_ids);
        for (int id = options.in_flight; id > 0; id--) c->free_ids[c->free_count++] = id;
    }
}

static void take_packet(struct connection *c, const uint8_t *packet, int header_bytes)
{
    const uint8_t *body = packet + header_bytes;
    switch (packet[0] >> 4) {
    case 2: /* CONNACK */
        if (body[1]) fail("'%s' was refused: CONNACK %d", c->device->id, body[1]);
        accepted++;
        note_latency(c->began);
        if (options.mode == IDLE)
            send_subscribes(c);
        else
            is_open(c);
        break;
    case 4: { /* PUBACK */
        int id = body[0] << 8 | body[1];
        if (id < 1 || id > options.in_flight || !c->sent_at[id]) fail("a PUBACK for %d, which is not in flight", id);
        if (measuring) note_latency(c->sent_at[id]);
        c->sent_at[id] = 0;
        c->free_ids[c->free_count++] = id;
        acknowledged++;
        break;
    }
    case 9: /* SUBACK */
        if (body[2] != 1) fail("'%s' was granted %d for a filter, not QoS 1", c->device->id, body[2]);
        if (++c->subacks == FILTER_COUNT) is_open(c);
        break;
    default:
        fail("'%s' got a packet that begins with 0x%02x", c->device->id, packet[0]);
    }
}

static void take_input(struct connection *c)
{
    int at = 0;
    while (c->in_bytes - at >= 2) {
        int size = c->in[at + 1];
        if (size > 127) fail("a longer packet than a server has reason to send");
        if (at + 2 + size > c->in_bytes) break;
        take_packet(c, c->in + at, 2);
        if (c->state == FREE) return;
        at += 2 + size;
    }
    memmove(c->in, c->in + at, c->in_bytes - at);
    c->in_bytes -= at;
}

static void drive(struct connection *c, uint32_t events)
{
    if (c->state == TCP) {
        int error = 0;
        socklen_t size = sizeof error;
        if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) return;
        getsockopt(c->socket, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) fail("connect: %s", strerror(error));
        c->ssl = SSL_new(context);
        SSL_use_cert_and_key(c->ssl, c->device->leaf, key, issuers, 1);
        SSL_set_fd(c->ssl, c->socket);
        SSL_set_tlsext_host_name(c->ssl, "localhost");
        SSL_set_connect_state(c->ssl);
        c->state = HANDSHAKE;
    }
    if (c->state == HANDSHAKE) {
        int done = SSL_do_handshake(c->ssl);
        if (done != 1) {
            if (is_only_waiting(c, done)) return;
            fail("the handshake of '%s' failed", c->device->id);
        }
        send_connect(c);
    }
    while (c->state >= EXPECT_CONNACK) {
        flush(c);
        int received = SSL_read(c->ssl, c->in + c->in_bytes, sizeof c->in - c->in_bytes);
        if (received <= 0) {
            if (is_only_waiting(c, received)) break;
            fail("the server closed the connection of '%s'", c->device->id);
        }
        c->in_bytes += received;
        take_input(c);
    }
    publish_what_fits(c);
}

static void poll_once(int timeout_ms)
{
    static double last_answer;
    struct epoll_event events[256];
    int count = epoll_wait(poller, events, 256, timeout_ms);
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->state != FREE) drive(c, events[i].events);
    }
    if (count > 0 || !last_answer) last_answer = now();
    if ((opening || publishing) && now() - last_answer > ANSWER_WITHIN_S)
        fail("nothing came from the server for %.0f s", ANSWER_WITHIN_S);
}

/* --- a flood ---------------------------------------------------------------------------------------------------- */

static uint64_t shaken, answered, dropped, missed;
static struct connection **free_ones;
static int free_count;

static void give_up(struct connection *c)
{
    if (c->ssl) SSL_free(c->ssl);
    close(c->socket);
    ERR_clear_error();
    c->ssl = NULL;
    c->state = FREE;
    opening--;
    free_ones[free_count++] = c;
}

static bool begin_flooding(void)
{
    if (!free_count) return false;
    struct connection *c = free_ones[free_count - 1];
    int on = 1, one = started % options.addresses;
    c->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->socket < 0) return false;
    free_count--;
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(c->socket, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    /* Nothing is left behind in TIME_WAIT: ports would run out. */
    setsockopt(c->socket, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    /* 127.0.1.x to 127.0.8.x: eight networks. */
    struct sockaddr_in from = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000100 + ((one % 8) << 8) + 1 + one / 8)};
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(options.port)};
    opening++;
    c->device = &devices[started++ % device_count];
    c->out_at = c->out_end = 0;
    c->state = TCP;
    if (bind(c->socket, (void *)&from, sizeof from) ||
        (connect(c->socket, (void *)&to, sizeof to) && errno != EINPROGRESS)) {
        give_up(c);
        return false;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->socket, &event);
    return true;
}

/* As far as the server lets it come: whether it goes on. */
static bool flood_on(struct connection *c, uint32_t events)
{
    uint8_t in[64];
    if (c->state == TCP) {
        if (events & (EPOLLERR | EPOLLHUP)) return false;
        if (!(events & EPOLLOUT)) return true;
        c->ssl = SSL_new(context);
        SSL_use_cert_and_key(c->ssl, c->device->leaf, key, issuers, 1);
        SSL_set_fd(c->ssl, c->socket);
        SSL_set_tlsext_host_name(c->ssl, "localhost");
        SSL_set_connect_state(c->ssl);
        c->state = HANDSHAKE;
    }
    if (c->state == HANDSHAKE) {
        int done = SSL_do_handshake(c->ssl);
        if (done != 1) return is_only_waiting(c, done);
        shaken++;
        uint8_t body[512], *at = put_text(body, "MQTT");
        char user[256];
        *at++ = 4;
        *at++ = 0x82;
        *at++ = 0;
        *at++ = 60;
        at = put_text(at, c->device->id);
        snprintf(user, sizeof user, "localhost/%s/?api-version=2021-04-12", c->device->id);
        at = put_text(at, user);
        queue_packet(c, 0x10, body, at - body);
        if (SSL_write(c->ssl, c->out, c->out_end) != c->out_end) return false;
        c->state = EXPECT_CONNACK;
    }
    int received = SSL_read(c->ssl, in, sizeof in);
    if (received <= 0) return is_only_waiting(c, received);
    if (received >= 4 && in[0] == 0x20 && in[3]) answered++;
    return false;
}

static void run_flood(void)
{
    double began = now(), until = began + options.seconds, cpu = server_cpu();
    uint64_t due = 0;
    free_ones = calloc(options.connections, sizeof *free_ones);
    for (int i = 0; i < options.connections; i++) free_ones[free_count++] = &connections[i];
    while (now() < until) {
        uint64_t wanted = (now() - began) * options.rate;
        while (due < wanted && begin_flooding()) due++;
        missed += wanted - due;
        due = wanted;
        struct epoll_event events[64];
        int count = epoll_wait(poller, events, 64, 1);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->state == FREE || flood_on(c, events[i].events)) continue;
            if (c->state != EXPECT_CONNACK) dropped++;
            give_up(c);
        }
    }
    double seconds = now() - began;
    printf(
        "{\"what\": \"flood\", \"seconds\": %.3f, \"offered\": %lu, \"missed\": %lu, \"handshakes\": %lu, "
        "\"refused\": %lu, \"dropped\": %lu, \"open\": %d, \"busy\": %.3f, \"memory_kib\": %ld}\n",
        seconds, (unsigned long)started, (unsigned long)missed, (unsigned long)shaken, (unsigned long)answered,
        (unsigned long)dropped, opening, (server_cpu() - cpu) / seconds, server_memory_kib());
}

/* --- the other runs --------------------------------------------------------------------------------------------- */

static void print_result(const char *what, uint64_t operations, double cpu_s, double seconds, long grown_kib)
{
    qsort(latencies_ms, latency_count, sizeof *latencies_ms, compare);
    printf(
        "{\"what\": \"%s\", \"operations\": %lu, \"seconds\": %.3f, \"cpu_us\": %.3f, \"busy\": %.3f, "
        "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"grown_kib\": %.3f, \"memory_kib\": %ld, \"openssl\": \"%s\"}\n",
        what, (unsigned long)operations, seconds, cpu_s * 1e6 / operations, cpu_s / seconds, latency_at(0.5),
        latency_at(0.99), (double)grown_kib / operations, server_memory_kib(), OpenSSL_version(OPENSSL_VERSION_STRING));
}

static void run_connect(void)
{
    uint64_t limit = options.count ? options.count : UINT64_MAX;
    double cpu = server_cpu(), began = now(), until = began + (options.count ? 3600 : options.seconds);
    long memory = server_memory_kib();
    do {
        bool go_on = now() < until;
        for (int i = 0; i < options.connections; i++)
            if (go_on && started < limit && connections[i].state == FREE) begin(&connections[i]);
        if (opening) poll_once(100);
    } while (opening || (started < limit && now() < until));
    double seconds = now() - began;
    usleep(50000); /* the last DISCONNECTs are being handled */
    print_result("connect", accepted, server_cpu() - cpu, seconds, server_memory_kib() - memory);
}

static void bring_up(void)
{
    double until = now() + OPEN_WITHIN_S;
    int next = 0;
    while (open_count < options.connections) {
        while (next < options.connections && opening < OPENING) begin(&connections[next++]);
        poll_once(100);
        if (now() > until)
            fail("%d of %d connections were open after %.0f s", open_count, options.connections, OPEN_WITHIN_S);
    }
}

/* Those that are due, from one connection after the other. A server that is behind is waited for: what was due then is
   sent late, and its wait counts from there. */
static void publish_what_is_due(void)
{
    static double began;
    static uint64_t sent;
    static int next;
    if (!began) began = now();
    uint64_t due = (now() - began) * options.rate;
    for (int tried = 0; sent < due && tried < options.connections; next = (next + 1) % options.connections) {
        struct connection *c = &connections[next];
        if (c->state != OPEN || !c->free_count || c->out_at != c->out_end) {
            tried++;
            continue;
        }
        send_publish(c);
        flush(c);
        sent++;
        tried = 0;
    }
}

static void publish_for(double seconds)
{
    for (double until = now() + seconds; now() < until;) {
        if (options.rate > 0) publish_what_is_due();
        poll_once(options.rate > 0 ? 1 : 10);
    }
}

static void run_publish(void)
{
    long memory = server_memory_kib();
    bring_up();
    publishing = true;
    for (int i = 0; i < options.connections; i++) publish_what_fits(&connections[i]);
    publish_for(WARM_UP_S);
    latency_count = 0;
    measuring = true;
    uint64_t before = acknowledged;
    double cpu = server_cpu(), began = now();
    publish_for(options.seconds);
    cpu = server_cpu() - cpu;
    print_result("publish", acknowledged - before, cpu, now() - began, server_memory_kib() - memory);
}

static void run_idle(void)
{
    long memory = server_memory_kib();
    double cpu = server_cpu(), began = now();
    bring_up();
    for (double until = now() + options.seconds; now() < until;) poll_once(100);
    print_result("idle", open_count, server_cpu() - cpu, now() - began, server_memory_kib() - memory);
}

int main(int count, char **arguments)
{
    int option;
    const char *mode = count > 1 ? arguments[1] : "";
    if (!strcmp(mode, "connect"))
        options.mode = CONNECT, options.connections = 32;
    else if (!strcmp(mode, "publish"))
        options.mode = PUBLISH, options.connections = 200;
    else if (!strcmp(mode, "idle"))
        options.mode = IDLE, options.connections = 5000;
    else if (!strcmp(mode, "flood"))
        options.mode = FLOOD, options.connections = 8000;
    else
        fail("the first argument is connect, publish, idle or flood");
    while ((option = getopt(count - 1, arguments + 1, "p:d:P:v:c:f:b:t:n:r:a:")) != -1) {
        switch (option) {
        case 'p': options.port = atoi(optarg); break;
        case 'd': options.devices = optarg; break;
        case 'P': options.server = atoi(optarg); break;
        case 'v': options.tls = atoi(optarg); break;
        case 'c': options.connections = atoi(optarg); break;
        case 'f': options.in_flight = atoi(optarg); break;
        case 'b': options.body_bytes = atoi(optarg); break;
        case 't': options.seconds = atof(optarg); break;
        case 'r': options.rate = atof(optarg); break;
        case 'a': options.addresses = atoi(optarg); break;
        case 'n': options.count = strtoull(optarg, NULL, 10); break;
        default: fail("see the top of load.c");
        }
    }
    if (!options.port || !options.devices || !options.server) fail("-p, -d and -P are needed");
    if (options.in_flight < 1 || options.in_flight > 1000 || options.body_bytes > 60000) fail("-f or -b is too large");
    if (options.mode == FLOOD && (options.rate <= 0 || options.addresses < 1 || options.addresses > 2000))
        fail("-r is needed, and -a at most 2000");
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    /* One connection a device at a time: a second would take over from the first. */
    if (options.mode == FLOOD)
        load_devices(1000);
    else if (options.mode == CONNECT)
        load_devices(options.count ? (int)options.count : 1000);
    else
        load_devices(options.connections);
    if (device_count < options.connections && options.mode != FLOOD)
        fail("%d connections want as many devices, there are %d", options.connections, device_count);
    context = make_context();
    connections = calloc(options.connections, sizeof *connections);
    poller = epoll_create1(EPOLL_CLOEXEC);
    switch (options.mode) {
    case CONNECT: run_connect(); break;
    case PUBLISH: run_publish(); break;
    case IDLE: run_idle(); break;
    case FLOOD: run_flood(); break;
    }
    return 0;
}
