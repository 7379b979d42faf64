/*
 * ledger_load.c - drives the ledger engine as workers do, for the fault tests.
 *
 *   ledger_load run   DIR URL|- COUNT WINDOW [SEGMENT]   load; prints "pid N", "ack EID LEAF"
 *   ledger_load serve DIR URL|- FD [SEGMENT]             the ledger process (run starts it)
 *   ledger_load dump  DIR                        every event of the journal: "EID LEAF"
 *   ledger_load dump-redis DIR URL [SUBJECT]     the same from Redis, page by page
 *   ledger_load get   DIR URL LEAF               one event from Redis by its leaf
 *   ledger_load status DIR URL SECONDS           the status after so many seconds
 *
 * LEDGER_CA (a PEM file), LEDGER_USER and LEDGER_PASSWORD in the environment go to Redis;
 * LEDGER_RATE: events a second, else as fast as they are acknowledged; LEDGER_LOG, when set: the
 * Merkle log is signed, with the key that "run" prints as "vkey".
 * run keeps WINDOW events unacknowledged, starts the ledger again when it dies, and sends
 * again what was not acknowledged, as a worker does.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/ipc.h"
#include "consentd/ipc_msg.h"
#include "consentd/keks.h"
#include "consentd/ledger.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/note.h"
#include "consentd/query.h"
#include "consentd/redis.h"
#include "consentd/timer.h"

#define NODE    1
#define SITE    "www.example.org"
#define ORIGIN  SITE "/consent/1"
#define PACE_MS 5 /* how often what is due is sent */

static const uint8_t idx_key[32] = {0x33};
static const uint8_t log_seed[32] = {0x44};
static const char *const names[RECORD_PURPOSES] = {"essential", "analytics", "marketing"};

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "ledger_load: %s: %s\n", what, why);
    exit(2);
}

static uint64_t number(const char *text)
{
    uint64_t n = 0;

    if (!str_to_u64(str_c(text), UINT64_MAX, &n))
        die(text, "expected a number");
    return n;
}

/* --- serve ---------------------------------------------------------------------------- */

struct host {
    struct loop *loop;
    struct ipc *ipc;
    struct ledger *ledger;
};

static void on_ack(void *owner, uint64_t peer, const struct ledger_ack *ack)
{
    struct host *h = owner;

    UNUSED(peer);
    if (!ipc_send(h->ipc, IPC_ACK, ack, sizeof(*ack), -1))
        loop_stop(h->loop);
}

static void on_host_msg(void *owner, uint16_t type, const void *data, size_t len, int fd)
{
    struct host *h = owner;

    UNUSED(fd);
    if (type == IPC_EVENT)
        ledger_event(h->ledger, 1, str_make(data, len));
    else if (type == IPC_OPLOG)
        ledger_oplog(h->ledger, 1, str_make(data, len));
}

static void on_host_closed(void *owner)
{
    loop_stop(((struct host *)owner)->loop);
}

static void on_term(void *arg)
{
    loop_stop(((struct host *)arg)->loop);
}

/* What the environment says about Redis; the texts live as long as the process. */
static struct str ca_from_environment(void)
{
    static struct buf ca;
    const char *path = getenv("LEDGER_CA");
    struct fault f = {{0}};

    if (path == NULL || ca.max != 0)
        return buf_str(&ca);
    buf_init(&ca, 1u << 20);
    if (!file_read(path, 1u << 20, &ca, &f))
        die("LEDGER_CA", f.text);
    return buf_str(&ca);
}

static struct ledger *open_ledger(struct host *h, const char *dir, const char *url,
                                  const char *segment)
{
    static const struct ledger_ops ops = {.on_ack = on_ack};
    char journal[512], keks[512];
    struct ledger_config cfg = {.journal_dir = journal,
                                .keks_path = keks,
                                .site = SITE,
                                .node = NODE,
                                .retention_ms = 604800000,
                                .lock_wait_ms = 5000,
                                .idx_key = idx_key};
    struct fault f = {{0}};
    struct note_key key;
    struct ledger *l;

    if (getenv("LEDGER_LOG") != NULL && note_key_of(STR(ORIGIN), log_seed, &key)) {
        cfg.log_seed = log_seed;
        cfg.log_keys = &key;
        cfg.log_key_cnt = 1;
    }
    (void)snprintf(journal, sizeof(journal), "%s/journal", dir);
    (void)snprintf(keks, sizeof(keks), "%s/keks.json", dir);
    cfg.segment_size = segment != NULL ? number(segment) : 4u << 20;
    if (strcmp(url, "-") != 0)
        cfg.redis_url = str_c(url);
    cfg.redis_ca = ca_from_environment();
    cfg.redis_user = str_c(getenv("LEDGER_USER"));
    cfg.redis_password = str_c(getenv("LEDGER_PASSWORD"));
    l = ledger_new(h->loop, &cfg, &ops, h, &f);
    if (l == NULL)
        die("ledger", f.text);
    return l;
}

static int serve(const char *dir, const char *url, int fd, const char *segment)
{
    static const struct ipc_ops ops = {.on_msg = on_host_msg, .on_closed = on_host_closed};
    struct host h = {.loop = loop_new()};

    (void)signal(SIGPIPE, SIG_IGN);
    h.ledger = open_ledger(&h, dir, url, segment);
    h.ipc = ipc_new(h.loop, fd, &ops, &h);
    if (!loop_on_signal(h.loop, SIGTERM, on_term, &h))
        die("signal", "no memory");
    (void)loop_run(h.loop);
    ledger_free(h.ledger);
    ipc_free(h.ipc);
    loop_poll(h.loop); /* what was closed is freed at the end of a turn */
    loop_free(h.loop);
    return 0;
}

struct status_wait {
    struct host h;
    struct timer timer;
};

static void on_status_time(void *arg)
{
    struct status_wait *w = arg;
    struct ledger_status st;
    struct buf text;

    ledger_status_get(w->h.ledger, &st);
    buf_init(&text, 8192);
    if (ledger_status_json(&st, &text))
        (void)printf("%.*s\n", STR_ARGS(buf_str(&text)));
    buf_free(&text);
    loop_stop(w->h.loop);
}

static int status(const char *dir, const char *url, uint64_t seconds)
{
    struct status_wait w = {.h = {.loop = loop_new()}};

    w.h.ledger = open_ledger(&w.h, dir, url, NULL);
    timer_init(&w.timer, w.h.loop, on_status_time, &w);
    timer_set(&w.timer, seconds * 1000);
    (void)loop_run(w.h.loop);
    ledger_free(w.h.ledger);
    loop_poll(w.h.loop);
    loop_free(w.h.loop);
    return 0;
}

/* --- run ------------------------------------------------------------------------------ */

struct load {
    struct loop *loop;
    struct ipc *ipc;
    const char *self, *dir, *url, *segment;
    pid_t child;
    uint64_t count, window, sent, acked;
    uint8_t (*eids)[16]; /* of every event */
    bool *done;
    uint64_t low; /* everything below is acknowledged */
    struct timer again, pace;
    uint64_t started_ms;
    uint64_t rate; /* events a second; 0: no limit but the window */
};

static void send_event(struct load *l, uint64_t i)
{
    struct ledger_event_msg msg = {.req_id = i, .flags = LEDGER_EVENT_NEW_SUBJECT};
    struct consent_event *ev = &msg.event;
    uint8_t out[LEDGER_EVENT_MSG_MAX];
    size_t len;

    memcpy(msg.names, names, sizeof(names));
    memcpy(ev->eid, l->eids[i], 16);
    memcpy(ev->subject, &i, sizeof(i));
    ev->subject[15] = 1;
    ev->expires_s = 1811022842;
    ev->epoch = 7;
    ev->act = i % 3 == 0 ? CONSENT_REJECT_ALL : CONSENT_ACCEPT_ALL;
    ev->type = CONSENT_EXPLICIT;
    ev->by = CONSENT_BY_SUBJECT;
    ev->grant = i % 3 == 0 ? 1 : 7;
    ev->deny = i % 3 == 0 ? 6 : 0;
    ev->method = STR("banner.accept_all");
    ev->lang = STR("en");
    ev->jurisdiction = STR("EU");
    ev->host = STR(SITE);
    len = ledger_event_encode(&msg, out, sizeof(out));
    if (len == 0)
        die("event", "does not fit");
    (void)!ipc_send(l->ipc, IPC_EVENT, out, len, -1); /* lost with its ledger: sent again */
}

static void fill_window(struct load *l)
{
    uint64_t due = l->count;

    if (l->rate > 0)
        due = (clock_mono_ms() - l->started_ms) * l->rate / 1000 + 1;
    while (l->sent < l->count && l->sent < due && l->sent - l->acked < l->window)
        send_event(l, l->sent++);
}

static void on_pace(void *arg)
{
    struct load *l = arg;

    if (l->ipc != NULL) /* between two ledgers visitors wait; they all come then */
        fill_window(l);
    timer_set(&l->pace, PACE_MS);
}

static void start_ledger(struct load *l);

static void on_load_msg(void *owner, uint16_t type, const void *data, size_t len, int fd)
{
    struct load *l = owner;
    struct ledger_ack ack;

    UNUSED(fd);
    if (type != IPC_ACK || !ledger_ack_decode(str_make(data, len), &ack))
        die("ack", "malformed");
    if (ack.status == LEDGER_UNAVAILABLE) {
        send_event(l, ack.req_id);
        return;
    }
    if (ack.status != LEDGER_RECORDED)
        die("ack", "refused");
    if (!l->done[ack.req_id]) {
        char eid[B64_LEN(16) + 1];

        l->done[ack.req_id] = true;
        l->acked++;
        b64url_encode(eid, l->eids[ack.req_id], 16);
        (void)printf("ack %s %" PRIu64 "\n", eid, ack.leaf);
    }
    while (l->low < l->count && l->done[l->low])
        l->low++;
    if (l->acked == l->count)
        loop_stop(l->loop);
    else
        fill_window(l);
}

static void on_again(void *arg)
{
    struct load *l = arg;

    (void)waitpid(l->child, NULL, 0);
    start_ledger(l);
    for (uint64_t i = l->low; i < l->sent; i++)
        if (!l->done[i])
            send_event(l, i);
}

static void on_load_closed(void *owner)
{
    struct load *l = owner;

    ipc_free(l->ipc);
    l->ipc = NULL;
    timer_set(&l->again, 100);
}

static void start_ledger(struct load *l)
{
    static const struct ipc_ops ops = {.on_msg = on_load_msg, .on_closed = on_load_closed};
    int fds[2];

    if (!ipc_pair(fds))
        die("socketpair", "failed");
    (void)fflush(stdout);
    l->child = fork();
    if (l->child == 0) {
        char number_text[16];

        int fd = dup(fds[1]); /* without close-on-exec */

        (void)snprintf(number_text, sizeof(number_text), "%d", fd);
        (void)execl(l->self, l->self, "serve", l->dir, l->url, number_text, l->segment, NULL);
        _exit(127);
    }
    (void)close(fds[1]);
    l->ipc = ipc_new(l->loop, fds[0], &ops, l);
    (void)printf("pid %d\n", (int)l->child);
    (void)fflush(stdout);
}

static void print_vkey(void)
{
    struct note_key key;
    struct buf text;

    buf_init(&text, 1024);
    if (note_key_of(STR(ORIGIN), log_seed, &key) && note_vkey_print(&key, &text))
        (void)printf("vkey %.*s\n", STR_ARGS(buf_str(&text)));
    buf_free(&text);
}

static int run(struct load *l)
{
    uint64_t ms;

    (void)signal(SIGPIPE, SIG_IGN);
    l->loop = loop_new();
    l->eids = mem_calloc(l->count, 16);
    l->done = mem_calloc(l->count, sizeof(bool));
    for (uint64_t i = 0; i < l->count; i++)
        crypto_random(l->eids[i], 16);
    timer_init(&l->again, l->loop, on_again, l);
    timer_init(&l->pace, l->loop, on_pace, l);
    print_vkey();
    start_ledger(l);
    l->started_ms = clock_mono_ms();
    fill_window(l);
    if (l->rate > 0)
        timer_set(&l->pace, PACE_MS);
    (void)loop_run(l->loop);
    timer_clear(&l->pace);
    ms = clock_mono_ms() - l->started_ms;
    (void)printf("done %" PRIu64 " events in %" PRIu64 " ms\n", l->acked, ms);
    (void)fflush(stdout);
    (void)getchar(); /* the ledger goes on shipping until the test says so */
    (void)kill(l->child, SIGTERM);
    (void)waitpid(l->child, NULL, 0);
    ipc_free(l->ipc);
    timer_clear(&l->again);
    loop_poll(l->loop);
    loop_free(l->loop);
    free(l->eids);
    free(l->done);
    return 0;
}

/* --- dump ------------------------------------------------------------------------------- */

struct dump {
    struct loop *loop;
    struct rlink *link;
    struct query_log log;
    struct query_spec spec;
    struct query_end end;
    char cursor[QUERY_CURSOR_LEN + 1];
    const char *leaf; /* get: one record */
    uint64_t rows;
};

static bool on_row(void *arg, const struct query_row *row)
{
    struct dump *d = arg;
    char eid[B64_LEN(16) + 1];

    d->rows++;
    b64url_encode(eid, row->view.event.eid, 16);
    (void)printf("%s %" PRIu64 " %d\n", row->kind == RECORD_EVENT ? eid : "-", row->leaf,
                 (int)row->status);
    return true;
}

static struct keks *open_keks(const char *dir)
{
    struct fault f = {{0}};
    char path[512];
    struct keks *keks;

    (void)snprintf(path, sizeof(path), "%s/keks.json", dir);
    keks = keks_open(path, false, &f);
    if (keks == NULL)
        die("keks", f.text);
    return keks;
}

static void print_rss(void)
{
    struct rusage use;

    (void)getrusage(RUSAGE_SELF, &use);
    (void)fprintf(stderr, "rss %ld KiB\n", use.ru_maxrss);
}

static int dump_journal(const char *dir)
{
    struct keks *keks = open_keks(dir);
    struct query_log log = {.site = SITE, .node = NODE, .keks = keks, .idx_key = idx_key};
    struct dump d = {.spec = {.oldest_first = true, .limit = 1000}};
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/journal", dir);
    do {
        d.spec.cursor = str_c(d.cursor);
        query_journal(path, &log, &d.spec, on_row, &d, &d.end);
        if (!d.end.ok)
            die("query", d.end.fault.text);
        if (d.end.gap_from != d.end.gap_to)
            die("query", "there is a gap");
        memcpy(d.cursor, d.end.cursor, sizeof(d.cursor));
    } while (d.end.more);
    keks_free(keks);
    print_rss();
    return 0;
}

static void ask_page(struct dump *d);

static void on_end(void *arg, const struct query_end *end)
{
    struct dump *d = arg;

    if (!end->ok)
        die("query", end->fault.text);
    if (!end->more) {
        loop_stop(d->loop);
        return;
    }
    memcpy(d->cursor, end->cursor, sizeof(d->cursor));
    ask_page(d);
}

static void ask_page(struct dump *d)
{
    static const struct query_ops ops = {.on_row = on_row, .on_end = on_end};
    struct fault f = {{0}};

    d->spec.cursor = str_c(d->cursor);
    if ((d->leaf != NULL ? query_redis_get(d->link, &d->log, number(d->leaf), &ops, d, &f)
                         : query_redis(d->link, &d->log, &d->spec, &ops, d, &f)) == NULL)
        die("query", f.text);
}

static void on_up(void *owner)
{
    ask_page(owner);
}

static void on_down(void *owner, const char *why)
{
    UNUSED(owner);
    die("redis", why);
}

static int dump_redis(const char *dir, const char *url, const char *subject, const char *leaf)
{
    static const struct rlink_ops ops = {.on_up = on_up, .on_down = on_down};
    const struct rlink_config cfg = {.url = str_c(url),
                                     .name = "dump",
                                     .ca_pem = ca_from_environment(),
                                     .user = str_c(getenv("LEDGER_USER")),
                                     .password = str_c(getenv("LEDGER_PASSWORD"))};
    struct keks *keks = open_keks(dir);
    struct dump d = {.loop = loop_new(), .spec = {.limit = 1000}, .leaf = leaf};
    struct fault f = {{0}};

    d.spec.oldest_first = leaf == NULL && subject == NULL;
    d.log = (struct query_log){.site = SITE, .node = NODE, .keks = keks, .idx_key = idx_key};
    if (subject != NULL) {
        uint64_t n = number(subject);

        d.spec.has_subject = true;
        memcpy(d.spec.subject, &n, sizeof(n));
        d.spec.subject[15] = 1;
    }
    d.link = rlink_new(d.loop, &cfg, &ops, &d, &f);
    if (d.link == NULL)
        die("redis", f.text);
    (void)loop_run(d.loop);
    rlink_free(d.link);
    loop_poll(d.loop);
    loop_free(d.loop);
    keks_free(keks);
    print_rss();
    return 0;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[1] : "";

    if (strcmp(mode, "serve") == 0 && argc >= 5)
        return serve(argv[2], argv[3], (int)number(argv[4]), argc > 5 ? argv[5] : NULL);
    if (strcmp(mode, "run") == 0 && argc >= 6) {
        struct load l = {.self = argv[0],
                         .dir = argv[2],
                         .url = argv[3],
                         .count = number(argv[4]),
                         .window = number(argv[5]),
                         .segment = argc > 6 ? argv[6] : NULL};

        if (getenv("LEDGER_RATE") != NULL)
            l.rate = number(getenv("LEDGER_RATE"));

        return run(&l);
    }
    if (strcmp(mode, "dump") == 0)
        return dump_journal(argv[2]);
    if (strcmp(mode, "dump-redis") == 0 && argc >= 4)
        return dump_redis(argv[2], argv[3], argc > 4 ? argv[4] : NULL, NULL);
    if (strcmp(mode, "get") == 0 && argc >= 5)
        return dump_redis(argv[2], argv[3], NULL, argv[4]);
    if (strcmp(mode, "status") == 0 && argc >= 5)
        return status(argv[2], argv[3], number(argv[4]));
    die("usage", "see the head of tests/tools/ledger_load.c");
    return 2;
}
