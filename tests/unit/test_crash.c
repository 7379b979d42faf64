/*
 * test_crash.c - a ledger that is killed at every system call that changes a file.
 *
 * A child runs one story (decisions, checkpoints, an unsubscription, erasures, new segments) and
 * says what it acknowledged. It is killed in front of its Nth such call, or in the middle of it:
 * then half of what it writes is there. Afterwards the ledger must start, have everything that was
 * acknowledged once and under its number, go on signing the same log, and verify.
 *
 * Every seventh call; all of them with CONSENTD_CRASHES=all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include "../../proxy/ledger/ledger_priv.h"
#include "consentd/erased.h"
#include "consentd/journal_read.h"
#include "consentd/keks.h"
#include "consentd/mem.h"
#include "consentd/suppressed.h"
#include "consentd/verify.h"
#include "ledger_fixture.h"

#define EVENTS  400
#define STEP    7
#define NOBODY  UINT64_MAX
#define LEAVES  "mail.unsubscribe:news"
#define CALLS   4000 /* more than the story has */
#define TREES   16
#define LEAVING 250
#define LATER   300

/* What the child says: an event's number and leaf, an erasure's number, a tree that was signed. */
struct said {
    enum { SAID_EVENT = 1, SAID_ERASED, SAID_SIGNED } what;
    unsigned number;
    uint64_t leaf;
    struct merkle_tree tree;
};

struct story {
    char dir[64], journal[80], keks[80], erased[80], left[80];
    struct loop *loop;
    struct ledger *ledger;
    int out; /* the child's; -1: nobody listens */
    unsigned acks, receipts;
    struct ledger_ack last;
    uint64_t leaf[EVENTS]; /* acknowledged; NOBODY: not */
    bool gone[EVENTS];     /* its subject's erasure was acknowledged */
    struct merkle_tree trees[TREES];
    unsigned tree_cnt;
};

static const uint8_t seed[32] = {7}, idx_key[32] = {8};
static struct note_key log_key;

/* --- the ledger --------------------------------------------------------------------------- */

static void say(const struct story *s, const struct said *what)
{
    if (s->out >= 0 && write(s->out, what, sizeof(*what)) != (ssize_t)sizeof(*what))
        _exit(3);
}

static void on_ack(void *owner, uint64_t peer, const struct ledger_ack *ack)
{
    struct story *s = owner;

    UNUSED(peer);
    s->acks++;
    s->last = *ack;
    if (ack->status == LEDGER_RECORDED)
        say(s,
            &(struct said){.what = SAID_EVENT, .number = (unsigned)ack->req_id, .leaf = ack->leaf});
}

static void on_erased(void *owner, uint64_t peer, const struct ledger_erase_ack *ack)
{
    struct story *s = owner;

    UNUSED(peer);
    s->receipts++;
    if (ack->status == LEDGER_ERASE_ACCEPTED || ack->status == LEDGER_ERASE_KNOWN)
        say(s, &(struct said){.what = SAID_ERASED, .number = (unsigned)ack->req_id});
}

static void name_files(struct story *s)
{
    fixture_dir(s->dir);
    (void)snprintf(s->journal, sizeof(s->journal), "%s/journal", s->dir);
    (void)snprintf(s->keks, sizeof(s->keks), "%s/keks.json", s->dir);
    (void)snprintf(s->erased, sizeof(s->erased), "%s/erased.lst", s->dir);
    (void)snprintf(s->left, sizeof(s->left), "%s/left.lst", s->dir);
    memset(s->leaf, 0xff, sizeof(s->leaf));
}

static bool start(struct story *s)
{
    static const struct ledger_ops ops = {.on_ack = on_ack, .on_erased = on_erased};
    const struct ledger_config cfg = {.journal_dir = s->journal,
                                      .keks_path = s->keks,
                                      .erased_path = s->erased,
                                      .suppressed_path = s->left,
                                      .site = "log.example",
                                      .node = 1,
                                      .segment_size = JOURNAL_SEGMENT_MIN,
                                      .log_seed = seed,
                                      .log_keys = &log_key,
                                      .log_key_cnt = 1,
                                      .idx_key = idx_key};
    struct fault f = {{0}};

    s->loop = loop_new();
    s->ledger = ledger_new(s->loop, &cfg, &ops, s, &f);
    if (s->ledger == NULL)
        print_error("%s\n", f.text);
    return s->ledger != NULL;
}

static void stop(struct story *s)
{
    ledger_free(s->ledger);
    loop_poll(s->loop);
    loop_free(s->loop);
}

static void subject_of(unsigned number, uint8_t out[16])
{
    memset(out, 0x5c, 16);
    out[0] = (uint8_t)number;
    out[1] = (uint8_t)(number >> 8);
}

static void give(struct story *s, unsigned number)
{
    struct ledger_event_msg msg = {.req_id = number, .event = fixture_event()};
    uint8_t out[LEDGER_EVENT_MSG_MAX];
    size_t len;

    memcpy(msg.names, fixture_names, sizeof(msg.names));
    subject_of(number, msg.event.subject);
    memcpy(msg.event.eid, msg.event.subject, 16);
    if (number == LEAVING) {
        msg.event.act = CONSENT_UNSUBSCRIBE;
        msg.event.method = STR(LEAVES);
        msg.event.grant = 0;
        msg.flags = LEDGER_EVENT_NARROWS;
    }
    len = ledger_event_encode(&msg, out, sizeof(out));
    ledger_event(s->ledger, 7, str_make(out, len));
}

static void record(struct story *s, unsigned from, unsigned to)
{
    unsigned until = s->acks + (to - from);

    for (unsigned i = from; i < to; i++)
        give(s, i);
    while (s->acks < until)
        loop_poll(s->loop);
}

static void erase(struct story *s, unsigned number)
{
    struct ledger_erase_msg msg = {.req_id = number,
                                   .version = LEDGER_MSG_VERSION,
                                   .action = LEDGER_ERASE,
                                   .flags = LEDGER_ERASE_NOW,
                                   .by = CONSENT_BY_SUBJECT};
    unsigned until = s->receipts + 1;

    subject_of(number, msg.subject);
    ledger_erase(s->ledger, 7, str_make(&msg, sizeof(msg)));
    while (s->receipts < until)
        loop_poll(s->loop);
    loop_poll(s->loop); /* its erase record */
    loop_poll(s->loop);
}

static void sign(struct story *s)
{
    struct merkle_tree tree;
    struct fault f = {{0}};

    ledger_log_publish(s->ledger);
    if (s->ledger->log != NULL && checkpoint_verify(&log_key, tlog_note(s->ledger->log), &tree, &f))
        say(s, &(struct said){.what = SAID_SIGNED, .tree = tree});
}

static void tell(struct story *s)
{
    if (!start(s))
        _exit(4);
    for (unsigned i = 0; i < 4; i++)
        record(s, i, i + 1);
    sign(s);
    record(s, LEAVING, LEAVING + 1);
    erase(s, 2);
    record(s, 4, 6);
    sign(s);
    for (unsigned i = 6; i < 246; i += 60)
        record(s, i, i + 60);
    sign(s);
    record(s, 260, 290);
    erase(s, 30);
    sign(s);
    stop(s);
}

/* --- the killer --------------------------------------------------------------------------- */

static bool changes_files(const struct __ptrace_syscall_info *info, int pipe_fd)
{
    switch (info->entry.nr) {
    case SYS_write:
    case SYS_pwrite64:
        return (int)info->entry.args[0] != pipe_fd && info->entry.args[0] > 2;
    case SYS_openat:
        return (info->entry.args[2] & O_CREAT) != 0;
    case SYS_fdatasync:
    case SYS_fsync:
    case SYS_syncfs:
    case SYS_ftruncate:
    case SYS_fallocate:
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_unlinkat:
    case SYS_mkdirat:
#ifdef SYS_rename
    case SYS_rename:
    case SYS_unlink:
    case SYS_mkdir:
    case SYS_rmdir:
#endif
        return true;
    default:
        return false;
    }
}

/* Half of the bytes of the write that begins; false: it is none, or not known how. */
static bool halve(pid_t pid, const struct __ptrace_syscall_info *info)
{
#ifdef __x86_64__
    struct user_regs_struct regs;

    if ((info->entry.nr != SYS_write && info->entry.nr != SYS_pwrite64) ||
        ptrace(PTRACE_GETREGS, pid, NULL, &regs) != 0)
        return false;
    regs.rdx /= 2;
    return ptrace(PTRACE_SETREGS, pid, NULL, &regs) == 0;
#else
    UNUSED(pid);
    UNUSED(info);
    return false;
#endif
}

/* Runs until the nth call that changes a file, or the end (false). */
static bool run_to(pid_t pid, unsigned nth, bool torn, int pipe_fd)
{
    struct __ptrace_syscall_info info;
    unsigned calls = 0;
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid); /* its SIGSTOP */
    assert_int_equal(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD), 0);
    for (;;) {
        assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            return false;
        }
        assert_true(WIFSTOPPED(status));
        if (WSTOPSIG(status) != (SIGTRAP | 0x80) ||
            ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) <= 0 ||
            info.op != PTRACE_SYSCALL_INFO_ENTRY || !changes_files(&info, pipe_fd) || ++calls < nth)
            continue;
        if (torn && halve(pid, &info)) {
            assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
            assert_int_equal(waitpid(pid, &status, 0), pid);
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return true;
    }
}

static void listen(struct story *s, int fd)
{
    struct said said;

    while (read(fd, &said, sizeof(said)) == (ssize_t)sizeof(said)) {
        if (said.what == SAID_EVENT)
            s->leaf[said.number] = said.leaf;
        else if (said.what == SAID_ERASED)
            s->gone[said.number] = true;
        else if (s->tree_cnt < TREES)
            s->trees[s->tree_cnt++] = said.tree;
    }
}

/* --- afterwards --------------------------------------------------------------------------- */

static void check_journal(const struct story *s)
{
    struct fault f = {{0}};
    struct keks *keks = keks_open(s->keks, false, &f);
    struct journal_reader *rd = journal_reader_open(s->journal, 1, &f);
    struct erased *list = erased_open(s->erased, 1, &f);
    uint64_t leaf[EVENTS];
    struct journal_record rec;
    enum journal_step step;

    assert_true(keks != NULL && rd != NULL && list != NULL);
    memset(leaf, 0xff, sizeof(leaf));
    while ((step = journal_reader_next(rd, UINT64_MAX, &rec)) == JOURNAL_STEP_RECORD) {
        const struct record_place at = {.node = 1, .leaf = rec.leaf, .month = rec.month};
        uint8_t json[RECORD_OPLOG_MAX];
        struct record_view view;
        unsigned number;

        if (rec.type != JOURNAL_EVENT || (rec.flags & JOURNAL_FLAG_ERASED) != 0)
            continue;
        assert_true(record_open(&at, keks_get(keks, rec.month), rec.r, rec.sealed, json));
        assert_int_equal(record_parse(str_make(json, rec.sealed.len - CRYPTO_GCM_TAG_LEN), &view),
                         RECORD_EVENT);
        number = view.event.eid[0] | (unsigned)view.event.eid[1] << 8;
        assert_int_equal(leaf[number], NOBODY); /* once */
        leaf[number] = rec.leaf;
        assert_false(erased_has(list, rec.leaf)); /* the journal was rewritten */
    }
    assert_int_equal(step, JOURNAL_STEP_END);
    for (unsigned i = 0; i < EVENTS; i++) {
        if (s->gone[i])
            assert_int_equal(leaf[i], NOBODY);
        else if (s->leaf[i] != NOBODY && !erased_has(list, s->leaf[i]))
            assert_int_equal(leaf[i], s->leaf[i]);
    }
    erased_free(list);
    journal_reader_close(rd);
    keks_free(keks);
}

static void check_lists(const struct story *s)
{
    struct fault f = {{0}};
    struct suppressed *left = suppressed_open(s->left, &f);
    struct erased *list = erased_open(s->erased, 1, &f);
    uint8_t subject[16], gone[16];

    assert_true(left != NULL && list != NULL);
    subject_of(LEAVING, subject);
    if (s->leaf[LEAVING] != NOBODY)
        assert_true(suppressed_since(left, subject, STR("news")) > 0);
    for (unsigned i = 0; i < EVENTS; i++) {
        subject_of(i, subject);
        erased_gone(subject, gone);
        if (s->gone[i])
            assert_true(erased_is_gone(list, gone));
    }
    suppressed_free(left);
    erased_free(list);
}

static enum verify_status verify(const struct story *s, struct verify_report *report)
{
    char path[96];
    struct fault f = {{0}};
    struct keks *keks = keks_open(s->keks, false, &f);
    struct erased *list = erased_open(s->erased, 1, &f);
    const struct verify_config cfg = {.log_dir = path,
                                      .keys = &log_key,
                                      .key_cnt = 1,
                                      .journal_dir = s->journal,
                                      .node = 1,
                                      .keks = keks,
                                      .erased = list};
    enum verify_status status;

    (void)snprintf(path, sizeof(path), "%s/tlog", s->journal);
    status = verify_run(&cfg, report);
    erased_free(list);
    keks_free(keks);
    return status;
}

static void check_log(const struct story *s)
{
    struct verify_report report;
    uint8_t root[32];
    char path[96];

    if (verify(s, &report) != VERIFY_OK)
        fail_msg("%s: %s", report.what, report.why);
    (void)snprintf(path, sizeof(path), "%s/tlog", s->journal);
    for (unsigned i = 0; i < s->tree_cnt; i++) {
        struct tlog_dir dir = {.path = path, .size = report.leaves};

        assert_true(merkle_root_at(s->trees[i].size, tlog_fetch, &dir, root));
        assert_memory_equal(root, s->trees[i].root, 32);
    }
}

/* It starts, knows repetitions, takes more, goes on with its log. */
static void go_on(struct story *s)
{
    unsigned again = 0;

    assert_true(start(s));
    for (unsigned i = 0; i < EVENTS; i++)
        again = s->leaf[i] != NOBODY && !s->gone[i] && i != 2 && i != 30 ? i : again;
    if (s->leaf[again] != NOBODY) {
        record(s, again, again + 1);
        assert_true(s->last.status == LEDGER_RECORDED && s->last.duplicate == 1);
        assert_int_equal(s->last.leaf, s->leaf[again]);
    }
    record(s, LATER, LATER + 1);
    assert_int_equal(s->last.status, LEDGER_RECORDED);
    for (unsigned i = 0; i < 4; i++) { /* what the tick does */
        ledger_erase_work(s->ledger);
        loop_poll(s->loop);
        loop_poll(s->loop);
    }
    sign(s);
    assert_non_null(s->ledger->log);
    assert_int_equal(s->ledger->restarts.cnt, 0);
    assert_int_equal(s->ledger->missing, 0);
    stop(s);
}

/* Month keys are in one file: a copy would keep what is destroyed. */
static void check_copies(const struct story *s)
{
    const struct dirent *entry;
    DIR *dir = opendir(s->dir);

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL)
        assert_true(strncmp(entry->d_name, "keks.json.", 10) != 0);
    closedir(dir);
}

/* False: the story was over before the nth call. */
static bool crash(unsigned nth, bool torn)
{
    struct story *s = mem_new(struct story);
    int ends[2];
    bool killed;
    pid_t pid;

    name_files(s);
    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 || raise(SIGSTOP) != 0)
            _exit(2);
        close(ends[0]);
        s->out = ends[1];
        tell(s);
        _exit(0);
    }
    killed = run_to(pid, nth, torn, ends[1]);
    close(ends[1]);
    listen(s, ends[0]);
    close(ends[0]);
    s->out = -1;
    go_on(s);
    check_journal(s);
    check_lists(s);
    check_log(s);
    check_copies(s);
    fixture_remove(s->dir);
    free(s);
    return killed;
}

static void run_all(bool torn)
{
    const char *all = getenv("CONSENTD_CRASHES");
    unsigned step = all != NULL ? 1 : STEP, nth = torn ? 4 : 1;

    while (nth < CALLS) {
        print_message("call %u%s\n", nth, torn ? ", half of it" : "");
        if (!crash(nth, torn))
            break;
        nth += step;
    }
    assert_true(nth > 100 && nth < CALLS);
}

static void test_killed_before_a_call(void **state)
{
    UNUSED(state);
    run_all(false);
}

static void test_killed_within_a_call(void **state)
{
    UNUSED(state);
    run_all(true);
}

/* --- a list that somebody else wrote ------------------------------------------------------ */

/*
 * A record that is in the way is put on the list of erasures, by hand, once the first segment has
 * gone by its age: no erase record names it, and that is told.
 */
static void test_a_listed_erasure_that_nobody_asked_for(void **state)
{
    struct erased_ref ref = {.ts_ms = 1795470842549};
    struct erasure in = {.ts_ms = 1795470842549, .refs = &ref, .ref_cnt = 1}, *x;
    struct verify_report report;
    struct journal_record rec;
    struct journal_reader *rd;
    struct fault f = {{0}};
    struct erased *list;
    struct story s = {.out = -1};
    char path[160];

    UNUSED(state);
    name_files(&s);
    tell(&s);
    (void)snprintf(path, sizeof(path), "%s/wal-1-%016x.log", s.journal, 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(verify(&s, &report), VERIFY_OK);
    rd = journal_reader_open(s.journal, 1, &f);
    assert_non_null(rd);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(journal_reader_next(rd, UINT64_MAX, &rec), JOURNAL_STEP_RECORD);
    journal_reader_close(rd);
    ref.leaf = rec.leaf;
    list = erased_open(s.erased, 1, &f);
    assert_non_null(list);
    assert_true(erased_add(list, &in, &x, &f) && erased_note_looked(list, x, &f) &&
                erased_note_logged(list, x, 1, &f) && erased_note_shredded(list, x, &f));
    erased_free(list);
    assert_int_equal(verify(&s, &report), VERIFY_TAMPERED);
    assert_non_null(strstr(report.why, "no erase record names it"));
    fixture_remove(s.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_before_a_call),
        cmocka_unit_test(test_killed_within_a_call),
        cmocka_unit_test(test_a_listed_erasure_that_nobody_asked_for),
    };

    if (!note_key_of(STR("log.example/consent/1"), seed, &log_key))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
