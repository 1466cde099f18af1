/* upstream.c - a fast pretend upstream (Anthropic Messages), one thread, epoll.
 *
 *   cc -O2 -o upstream upstream.c ; ./upstream PORT
 *
 * The request body steers the answer by a word anywhere in it:
 *   bench-d<delay us>-n<events>-g<gap us between events>-b<bytes of text>[-p]
 * -p: a whole answer has the header fields of a real provider, 26 instead of three, some of them new in each.
 * A body that holds "stream":true is answered as server-sent events, one chunk and one write per event; each text delta carries the
 * monotonic clock of its send as t=<16 hex digits>, so that a reader on the same machine knows every event's delay exactly.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
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

enum phase { WAITING, EVENTS, DONE };

typedef struct connection {
    int fd, events, sent_events, text_bytes, streaming, many_fields, waits_for_write, heap_index;
    enum phase phase;
    uint64_t gap_ns, due_ns;
    char *in, *out;
    size_t in_length, in_room, out_start, out_length, out_room;
} connection;

static int poller;
static connection **timers; /* a binary heap by due_ns */
static int timer_count, timer_room;

static uint64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void *grown(void *memory, size_t *room, size_t needed) {
    if (needed <= *room) return memory;
    *room = needed * 2 + 4096;
    memory = realloc(memory, *room);
    if (!memory) abort();
    return memory;
}

static void timer_place(int i, connection *c) { timers[i] = c; c->heap_index = i; }

static void timer_up(int i) {
    connection *c = timers[i];
    for (int parent; i > 0 && timers[parent = (i - 1) / 2]->due_ns > c->due_ns; i = parent) timer_place(i, timers[parent]);
    timer_place(i, c);
}

static void timer_down(int i) {
    connection *c = timers[i];
    for (int child; (child = 2 * i + 1) < timer_count; i = child) {
        if (child + 1 < timer_count && timers[child + 1]->due_ns < timers[child]->due_ns) child++;
        if (timers[child]->due_ns >= c->due_ns) break;
        timer_place(i, timers[child]);
    }
    timer_place(i, c);
}

static void timer_add(connection *c) {
    if (timer_count == timer_room) {
        timer_room = timer_room ? timer_room * 2 : 1024;
        timers = realloc(timers, (size_t)timer_room * sizeof *timers);
        if (!timers) abort();
    }
    timer_place(timer_count++, c);
    timer_up(timer_count - 1);
}

static void timer_remove(connection *c) {
    int i = c->heap_index;
    if (i < 0) return;
    c->heap_index = -1;
    if (i == --timer_count) return;
    connection *last = timers[timer_count];
    timer_place(i, last);
    timer_up(i);
    timer_down(last->heap_index);
}

static void hang_up(connection *c) {
    timer_remove(c);
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void watch(connection *c, int for_write) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | (for_write ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
    c->waits_for_write = for_write;
}

/* Returns -1 when the peer is gone. */
static int flush(connection *c) {
    while (c->out_start < c->out_length) {
        ssize_t n = send(c->fd, c->out + c->out_start, c->out_length - c->out_start, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) return -1;
            if (!c->waits_for_write) watch(c, 1);
            return 0;
        }
        c->out_start += (size_t)n;
    }
    c->out_start = c->out_length = 0;
    if (c->waits_for_write) watch(c, 0);
    return 0;
}

static void put(connection *c, const char *data, size_t size) {
    c->out = grown(c->out, &c->out_room, c->out_length + size);
    memcpy(c->out + c->out_length, data, size);
    c->out_length += size;
}

static void put_chunk(connection *c, const char *data, size_t size) {
    char head[24];
    put(c, head, (size_t)sprintf(head, "%zx\r\n", size));
    put(c, data, size);
    put(c, "\r\n", 2);
}

static void put_event(connection *c, const char *name, const char *json) {
    char text[1024];
    put_chunk(c, text, (size_t)snprintf(text, sizeof text, "event: %s\ndata: %s\n\n", name, json));
}

/* What api.anthropic.com sends besides the three fields that every answer here has. */
static void put_provider_fields(connection *c) {
    static const char FIXED[] =
        "Connection: keep-alive\r\nanthropic-organization-id: 6d1b2f0c-6f0a-4c43-9a5d-0b3a7d8d0c11\r\n"
        "strict-transport-security: max-age=31536000; includeSubDomains; preload\r\nvia: 1.1 google\r\nServer: cloudflare\r\n"
        "cf-cache-status: DYNAMIC\r\nX-Robots-Tag: none\r\n";
    static const char *const LIMITED[] = {"requests", "tokens", "input-tokens", "output-tokens"};
    static unsigned number;
    char text[512];
    number++;
    put(c, FIXED, sizeof FIXED - 1);
    for (size_t i = 0; i < sizeof LIMITED / sizeof *LIMITED; i++)
        put(c, text, (size_t)snprintf(text, sizeof text,
            "anthropic-ratelimit-%s-limit: 400000\r\nanthropic-ratelimit-%s-remaining: %u\r\nanthropic-ratelimit-%s-reset: 2026-11-27T12:%02u:00Z\r\n",
            LIMITED[i], LIMITED[i], 300000 + number % 100000, LIMITED[i], number / 10000 % 60));
    put(c, text, (size_t)snprintf(text, sizeof text,
        "Date: Fri, 27 Nov 2026 12:00:%02u GMT\r\nx-envoy-upstream-service-time: %u\r\nCF-RAY: 9a5c%012x-AMS\r\nx-request-id: req_%024u\r\n",
        number / 10000 % 60, 800 + number % 1000, number, number));
}

static int answer_whole(connection *c) {
    static const char WORDS[] = "the quick brown fox jumps over the lazy dog and then writes some more plain words of text ";
    static const char OPEN[] = "{\"id\":\"msg_bench\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"bench\",\"content\":[{\"type\":\"text\",\"text\":\"";
    char tail[256], head[256];
    int tail_size = snprintf(tail, sizeof tail,
        "\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":120,\"output_tokens\":%d}}", c->text_bytes / 4);
    size_t size = sizeof OPEN - 1 + (size_t)c->text_bytes + (size_t)tail_size;
    put(c, head, (size_t)snprintf(head, sizeof head,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_bench\r\ncontent-length: %zu\r\n", size));
    if (c->many_fields) put_provider_fields(c);
    put(c, "\r\n", 2);
    put(c, OPEN, sizeof OPEN - 1);
    for (int left = c->text_bytes; left > 0;) {
        int piece = left < (int)sizeof WORDS - 1 ? left : (int)sizeof WORDS - 1;
        put(c, WORDS, (size_t)piece);
        left -= piece;
    }
    put(c, tail, (size_t)tail_size);
    c->phase = DONE;
    return flush(c);
}

static void open_stream(connection *c) {
    static const char HEAD[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
                               "request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n";
    put(c, HEAD, sizeof HEAD - 1);
    put_event(c, "message_start", "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_bench\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"bench\","
                                  "\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":120,\"output_tokens\":1}}}");
    put_event(c, "content_block_start", "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}");
    put_event(c, "ping", "{\"type\": \"ping\"}");
}

static void close_stream(connection *c) {
    char json[160];
    put_event(c, "content_block_stop", "{\"type\":\"content_block_stop\",\"index\":0}");
    snprintf(json, sizeof json, "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":%d}}", c->events);
    put_event(c, "message_delta", json);
    put_event(c, "message_stop", "{\"type\":\"message_stop\"}");
    put(c, "0\r\n\r\n", 5);
}

/* Sends what is due; sets the next due time, or phase DONE. */
static int continue_stream(connection *c, uint64_t now) {
    if (c->phase == WAITING) {
        open_stream(c);
        c->phase = EVENTS;
        c->due_ns = now + c->gap_ns;
        if (c->gap_ns) return flush(c);
    }
    while (c->sent_events < c->events) {
        char json[192];
        snprintf(json, sizeof json, "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"t=%016llx. ab\"}}",
                 (unsigned long long)clock_ns());
        put_event(c, "content_block_delta", json);
        c->sent_events++;
        if (flush(c) < 0) return -1;
        if (c->gap_ns) {
            c->due_ns += c->gap_ns;
            if (c->due_ns < now) c->due_ns = now;
            return 0;
        }
    }
    close_stream(c);
    c->phase = DONE;
    return flush(c);
}

static int begin_answer(connection *c, const char *body, size_t size) {
    int delay_us = 0, events = 50, gap_us = 20000, text_bytes = 2048;
    char word[64] = "", option = 0;
    const char *found = memmem(body, size, "bench-d", 7);
    if (found) {
        size_t room = (size_t)(body + size - found);
        memcpy(word, found, room < sizeof word - 1 ? room : sizeof word - 1);
        sscanf(word, "bench-d%d-n%d-g%d-b%d-%c", &delay_us, &events, &gap_us, &text_bytes, &option);
    }
    c->events = events;
    c->sent_events = 0;
    c->gap_ns = (uint64_t)gap_us * 1000;
    c->many_fields = option == 'p';
    c->text_bytes = text_bytes > 1000000 ? 1000000 : text_bytes;
    c->streaming = memmem(body, size, "\"stream\":true", 13) != NULL || memmem(body, size, "\"stream\": true", 14) != NULL;
    c->phase = WAITING;
    uint64_t now = clock_ns();
    if (delay_us) {
        c->due_ns = now + (uint64_t)delay_us * 1000;
        timer_add(c);
        return 0;
    }
    if (!c->streaming) return answer_whole(c);
    if (continue_stream(c, now) < 0) return -1;
    if (c->phase != DONE) timer_add(c);
    return 0;
}

static char *field(char *head, size_t size, const char *name) {
    size_t length = strlen(name);
    for (char *line = memchr(head, '\n', size); line; line = memchr(line + 1, '\n', (size_t)(head + size - line - 1)))
        if ((size_t)(head + size - line - 1) > length && !strncasecmp(line + 1, name, length)) return line + 1 + length;
    return NULL;
}

/* Answers a request that has arrived whole; -1 when the connection must end. */
static int take_request(connection *c) {
    while (c->heap_index < 0 && c->in_length) {
        char *end = memmem(c->in, c->in_length, "\r\n\r\n", 4);
        if (!end) return 0;
        size_t head = (size_t)(end + 4 - c->in), body = 0, whole = head;
        char *value = field(c->in, head, "content-length:");
        if (value) {
            body = strtoul(value, NULL, 10);
            whole = head + body;
            if (c->in_length < whole) return 0;
        } else if (field(c->in, head, "transfer-encoding:")) {
            char *last = memmem(c->in + head, c->in_length - head, "\r\n0\r\n\r\n", 7);
            if (!last) return 0;
            body = (size_t)(last - c->in) - head;
            whole = (size_t)(last + 7 - c->in);
        }
        if (begin_answer(c, c->in + head, body) < 0) return -1;
        memmove(c->in, c->in + whole, c->in_length - whole);
        c->in_length -= whole;
    }
    return 0;
}

static int read_all(connection *c) {
    static char buffer[262144];
    for (;;) {
        ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
        if (n == 0) return -1;
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        c->in = grown(c->in, &c->in_room, c->in_length + (size_t)n);
        memcpy(c->in + c->in_length, buffer, (size_t)n);
        c->in_length += (size_t)n;
        if ((size_t)n < sizeof buffer) return 0;
    }
}

static void accept_all(int listener) {
    int one = 1;
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        connection *c = calloc(1, sizeof *c);
        if (!c) abort();
        c->fd = fd;
        c->heap_index = -1;
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    }
}

static void run_due(void) {
    uint64_t now = clock_ns();
    while (timer_count && timers[0]->due_ns <= now) {
        connection *c = timers[0];
        int gone;
        if (!c->streaming) {
            timer_remove(c);
            gone = answer_whole(c);
        } else {
            gone = continue_stream(c, now);
            if (!gone && c->phase == DONE) timer_remove(c);
            else if (!gone) timer_down(c->heap_index);
        }
        if (gone || (c->heap_index < 0 && take_request(c) < 0)) hang_up(c);
    }
}

int main(int count, char **words) {
    if (count != 2) return fprintf(stderr, "usage: upstream PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) return perror("listen"), 1;
    poller = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    static struct epoll_event ready[512];
    for (;;) {
        struct timespec wait, *until = NULL;
        if (timer_count) {
            uint64_t now = clock_ns(), left = timers[0]->due_ns > now ? timers[0]->due_ns - now : 0;
            wait = (struct timespec){.tv_sec = (time_t)(left / 1000000000ull), .tv_nsec = (long)(left % 1000000000ull)};
            until = &wait;
        }
        int n = epoll_pwait2(poller, ready, 512, until, NULL);
        for (int i = 0; i < n; i++) {
            connection *c = ready[i].data.ptr;
            if (!c) { accept_all(listener); continue; }
            int gone = ready[i].events & (EPOLLERR | EPOLLHUP) ? -1 : 0;
            if (!gone && ready[i].events & EPOLLOUT) gone = flush(c);
            if (!gone && ready[i].events & (EPOLLIN | EPOLLRDHUP)) gone = read_all(c) < 0 ? -1 : take_request(c);
            if (gone) hang_up(c);
        }
        run_due();
    }
}
