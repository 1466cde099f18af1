/* load.c - a load generator for proxies of model traffic, one thread, epoll.
 *
 *   cc -O2 -o load load.c -lm
 *   ./load -p PORT -m closed|open|stream -c CONNECTIONS -d SECONDS -w WARM_UP -r RATE -R RAMP -b REQUEST_BYTES -S SPEC
 *
 * closed: each connection asks again as soon as it is answered. open: requests arrive at random at RATE a second, and latency counts
 * from the scheduled moment. stream: server-sent events, every event's delay from the clock it carries (see upstream.c), every stream
 * checked to be whole. Prints one line of JSON. At most 4,000 connections and 120 s, only to 127.0.0.1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct { float *v; size_t n, room; } samples;
enum framing { SIZE, SIZE_LINE, DATA, DATA_END, TRAILER };

typedef struct {
    int fd, connected, busy, in_head, status, chunked, events, waits_for_write, line_length;
    enum framing framing;
    long left;
    uint64_t scheduled_ns, start_ns;
    int got_body;
    size_t written, head_length, carry_length;
    char head[8192], carry[32];
} connection;

static int poller, port, connections = 16, streaming, open_loop, expected_events = 50;
static uint64_t measure_from, measure_to;
static char *request;
static size_t request_size;
static connection *all;
static int *idle, idle_count;
static uint64_t *queue;
static size_t queue_head, queue_tail, queue_most;
enum { QUEUE_ROOM = 1 << 20 };
static samples latency, ttft, delay;
static long done, broken, bad_status, whole_streams, lost_events, events_seen;

static uint64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void add(samples *s, double value) {
    if (s->n == s->room) {
        s->room = s->room ? s->room * 2 : 65536;
        s->v = realloc(s->v, s->room * sizeof *s->v);
        if (!s->v) abort();
    }
    s->v[s->n++] = (float)value;
}

static int ascending(const void *a, const void *b) { float x = *(const float *)a, y = *(const float *)b; return (x > y) - (x < y); }

/* Nearest rank; -1 when there is no sample. */
static double quantile(const samples *s, double q) { return s->n ? s->v[(size_t)(q * (double)(s->n - 1) + .5)] : -1; }

static void watch(connection *c, int for_write) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | (for_write ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
    c->waits_for_write = for_write;
}

static void dial(connection *c) {
    int one = 1;
    memset(c, 0, sizeof *c);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(c->fd, (void *)&a, sizeof a) && errno != EINPROGRESS) { perror("connect"); exit(1); }
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLOUT, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
    c->waits_for_write = 1;
}

static void send_request(connection *c) {
    while (c->written < request_size) {
        ssize_t n = send(c->fd, request + c->written, request_size - c->written, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN && !c->waits_for_write) watch(c, 1);
            return;
        }
        c->written += (size_t)n;
    }
    if (c->waits_for_write) watch(c, 0);
}

static void ask(connection *c, uint64_t scheduled) {
    c->busy = c->in_head = 1;
    c->status = c->chunked = c->events = c->got_body = 0;
    c->framing = SIZE;
    c->left = -1;
    c->written = c->head_length = c->carry_length = 0;
    c->scheduled_ns = scheduled;
    send_request(c);
}

static void next_request(connection *c) {
    c->busy = 0;
    uint64_t now = clock_ns();
    if (now >= measure_to) return;
    if (!open_loop) ask(c, now);
    else if (queue_head < queue_tail) ask(c, queue[queue_head++ % QUEUE_ROOM]);
    else idle[idle_count++] = (int)(c - all);
}

static void answered(connection *c) {
    uint64_t now = clock_ns();
    int counted = streaming ? now >= measure_from && now <= measure_to : c->scheduled_ns >= measure_from;
    if (counted && c->status != 200) bad_status++;
    else if (counted) {
        done++;
        add(&latency, (double)(now - c->scheduled_ns) / 1e3);
        if (streaming && c->events == expected_events) whole_streams++;
        else if (streaming) lost_events += expected_events - c->events;
    }
    next_request(c);
}

static void failed(connection *c) {
    if (c->busy && clock_ns() >= measure_from) broken++;
    close(c->fd);
    if (clock_ns() < measure_to) dial(c);
    else c->fd = -1;
}

static int hex(char h) { return h >= '0' && h <= '9' ? h - '0' : h >= 'a' && h <= 'f' ? h - 'a' + 10 : -1; }

/* Counts the marks t=<16 hex>. in the text, also one that is cut between two reads. */
static void read_marks(connection *c, const char *data, size_t size, uint64_t now) {
    enum { MARK = 19 };
    static char text[300000];
    memcpy(text, c->carry, c->carry_length);
    memcpy(text + c->carry_length, data, size);
    const char *end = text + c->carry_length + size, *at = text;
    while ((at = memmem(at, (size_t)(end - at), "t=", 2)) && end - at >= MARK) {
        uint64_t sent = 0;
        int digits = 0;
        while (digits < 16 && hex(at[2 + digits]) >= 0) sent = sent << 4 | (uint64_t)hex(at[2 + digits++]);
        if (digits < 16 || at[18] != '.') { at += 2; continue; }
        c->events++;
        if (now >= measure_from && now <= measure_to) { events_seen++; add(&delay, now > sent ? (double)(now - sent) / 1e3 : 0); }
        at += MARK;
    }
    size_t keep = at ? (size_t)(end - at) : end > text && end[-1] == 't';
    if (keep >= MARK) keep = 0;
    memcpy(c->carry, end - keep, keep);
    c->carry_length = keep;
}

/* Follows the framing of the body; true when the answer is complete. */
static int body_complete(connection *c, const char *data, size_t size) {
    if (!c->chunked) return (c->left -= (long)size) <= 0;
    for (size_t i = 0; i < size;) {
        char h = data[i];
        switch (c->framing) {
        case SIZE:
            if (hex((char)(h | 32)) >= 0 && h != '\r') { c->left = c->left * 16 + hex((char)(h | 32)); i++; }
            else c->framing = SIZE_LINE;
            break;
        case SIZE_LINE:
            i++;
            if (h == '\n') { c->framing = c->left ? DATA : TRAILER; c->line_length = 0; }
            break;
        case DATA: {
            size_t piece = size - i < (size_t)c->left ? size - i : (size_t)c->left;
            c->left -= (long)piece;
            i += piece;
            if (!c->left) c->framing = DATA_END;
            break;
        }
        case DATA_END:
            i++;
            if (h == '\n') { c->framing = SIZE; c->left = 0; }
            break;
        case TRAILER:
            i++;
            if (h == '\n') { if (!c->line_length) return 1; c->line_length = 0; }
            else if (h != '\r') c->line_length++;
            break;
        }
    }
    return 0;
}

/* True when the answer is complete. */
static int take(connection *c, const char *data, size_t size) {
    uint64_t now = clock_ns();
    if (c->in_head) {
        size_t before = c->head_length, room = sizeof c->head - 1 - before, piece = size < room ? size : room;
        memcpy(c->head + before, data, piece);
        c->head[c->head_length += piece] = 0;
        char *end = memmem(c->head, c->head_length, "\r\n\r\n", 4);
        if (!end) return 0;
        size_t used = (size_t)(end + 4 - c->head) - before;
        data += used;
        size -= used;
        c->in_head = 0;
        end[2] = 0;
        c->status = atoi(c->head + 9);
        char *length = strcasestr(c->head, "\ncontent-length:");
        if (length) c->left = atol(length + 16);
        if (strcasestr(c->head, "\ntransfer-encoding: chunked")) { c->chunked = 1; c->left = 0; }
        if (c->left == 0 && !c->chunked) return 1;
    }
    if (!size) return 0;
    if (!c->got_body) { c->got_body = 1; if (c->scheduled_ns >= measure_from) add(&ttft, (double)(now - c->scheduled_ns) / 1e3); }
    if (streaming) read_marks(c, data, size, now);
    return body_complete(c, data, size);
}

static char more_headers[4096];

static void build_request(size_t wanted, const char *spec) {
    static const char LINE[] = "The function reads \\\"config.yaml\\\" and returns a dict of values;\\n    if a key is missing it uses the default one. ";
    char *body = malloc(wanted + 4096), *p = body;
    request = malloc(wanted + 16384);
    if (!body || !request) abort();
    p += sprintf(p, "{\"model\":\"bench\",\"max_tokens\":1024,%s\"messages\":[{\"role\":\"user\",\"content\":\"%s ", streaming ? "\"stream\":true," : "", spec);
    while ((size_t)(p - body) + sizeof LINE + 8 < wanted) { memcpy(p, LINE, sizeof LINE - 1); p += sizeof LINE - 1; }
    p += sprintf(p, "\"}]}");
    int head = sprintf(request,
        "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: load/1\r\nAccept: %s\r\nContent-Type: application/json\r\n"
        "x-api-key: sk-bench-0000\r\nanthropic-version: 2023-06-01\r\nContent-Length: %zu\r\n%s\r\n",
        port, streaming ? "text/event-stream" : "application/json", (size_t)(p - body), more_headers);
    memcpy(request + head, body, (size_t)(p - body));
    request_size = (size_t)head + (size_t)(p - body);
    free(body);
}

static void on_ready(connection *c, uint32_t what) {
    static char buffer[262144];
    if (c->fd < 0) return;
    if (what & (EPOLLERR | EPOLLHUP)) { failed(c); return; }
    if (what & EPOLLOUT) {
        if (c->connected) send_request(c);
        else {
            c->connected = 1;
            watch(c, 0);
            if (open_loop) idle[idle_count++] = (int)(c - all);
            else if (c->start_ns <= clock_ns() && clock_ns() < measure_to) ask(c, clock_ns());
        }
    }
    if (what & (EPOLLIN | EPOLLRDHUP)) {
        ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) failed(c);
        else if (c->busy && take(c, buffer, (size_t)n)) answered(c);
    }
}

int main(int count, char **words) {
    const char *mode = "closed", *spec = "bench-d0-n1-g0-b2048";
    double seconds = 3, warm_up = 1, rate = 100, ramp = 0;
    size_t bytes = 1024;
    for (int option; (option = getopt(count, words, "p:m:c:d:w:r:R:b:S:H:")) > 0;) switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'm': mode = optarg; break;
        case 'c': connections = atoi(optarg); break;
        case 'd': seconds = atof(optarg); break;
        case 'w': warm_up = atof(optarg); break;
        case 'r': rate = atof(optarg); break;
        case 'R': ramp = atof(optarg); break;
        case 'b': bytes = (size_t)atol(optarg); break;
        case 'S': spec = optarg; break;
        case 'H':
            if (strlen(more_headers) + strlen(optarg) + 3 > sizeof more_headers) return 2;
            strcat(strcat(more_headers, optarg), "\r\n");
            break;
        default: return 2;
    }
    if (connections > 4000) connections = 4000;
    if (seconds + warm_up > 120) seconds = 120 - warm_up;
    streaming = !strcmp(mode, "stream");
    open_loop = !strcmp(mode, "open");
    const char *events = strstr(spec, "-n");
    if (events) expected_events = atoi(events + 2);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
    srand48(42);
    build_request(bytes, spec);
    poller = epoll_create1(0);
    all = calloc((size_t)connections, sizeof *all);
    idle = malloc((size_t)connections * sizeof *idle);
    queue = malloc(QUEUE_ROOM * sizeof *queue);
    if (!all || !idle || !queue) abort();
    uint64_t begin = clock_ns(), arrival = begin;
    measure_from = begin + (uint64_t)(warm_up * 1e9);
    measure_to = measure_from + (uint64_t)(seconds * 1e9);
    for (int i = 0; i < connections; i++) { dial(all + i); all[i].start_ns = begin + (uint64_t)(ramp * 1e9 * i / connections); }
    static struct epoll_event ready[512];
    for (int started = 0;;) {
        uint64_t now = clock_ns();
        if (now > measure_to + (streaming ? 50000000ull : 1000000000ull)) break;
        while (open_loop && arrival <= now && now < measure_to) {
            if (idle_count) ask(all + idle[--idle_count], arrival);
            else { queue[queue_tail++ % QUEUE_ROOM] = arrival; if (queue_tail - queue_head > queue_most) queue_most = queue_tail - queue_head; }
            arrival += (uint64_t)(-log(1 - drand48()) / rate * 1e9);
        }
        for (; !open_loop && started < connections && all[started].start_ns <= now; started++)
            if (all[started].connected && !all[started].busy && now < measure_to) ask(all + started, now);
        uint64_t wake = now + 20000000;
        if (open_loop && arrival < wake) wake = arrival;
        if (!open_loop && started < connections && all[started].start_ns < wake) wake = all[started].start_ns;
        now = clock_ns();
        struct timespec wait = {.tv_nsec = wake > now ? (long)(wake - now) : 0};
        int n = epoll_pwait2(poller, ready, 512, &wait, NULL);
        for (int i = 0; i < n; i++) on_ready(ready[i].data.ptr, ready[i].events);
    }
    qsort(latency.v, latency.n, sizeof(float), ascending);
    qsort(ttft.v, ttft.n, sizeof(float), ascending);
    qsort(delay.v, delay.n, sizeof(float), ascending);
    printf("{\"done\":%ld,\"per_second\":%.1f,\"broken\":%ld,\"bad_status\":%ld,\"queue_most\":%zu,"
           "\"latency_us\":{\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f},\"ttft_us\":{\"p50\":%.1f,\"p99\":%.1f},"
           "\"events\":%ld,\"events_per_second\":%.0f,\"delay_us\":{\"p50\":%.1f,\"p99\":%.1f},\"whole_streams\":%ld,\"lost_events\":%ld}\n",
           done, (double)done / seconds, broken, bad_status, queue_most, quantile(&latency, .5), quantile(&latency, .99), quantile(&latency, .999),
           quantile(&ttft, .5), quantile(&ttft, .99), events_seen, (double)events_seen / seconds, quantile(&delay, .5), quantile(&delay, .99),
           whole_streams, lost_events);
    return 0;
}
