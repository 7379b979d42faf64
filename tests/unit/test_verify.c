/*
 * test_verify.c - a verification of folders that somebody forged, and proofs on paper in which
 * every byte, every line, every number was changed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../proxy/ledger/tlog_priv.h"
#include "consentd/b64.h"
#include "consentd/file.h"
#include "consentd/tlog.h"
#include "consentd/verify.h"
#include "ledger_fixture.h"

#define LEAVES 300

static struct note_key key;
static const uint8_t seed[32] = {4, 5, 6};

static int setup(void **state)
{
    UNUSED(state);
    return note_key_of(STR("log.example/consent/1"), seed, &key) ? 0 : -1;
}

/* A signed log of LEAVES entries that depend on `salt`. */
static void make_log(const char *dir, uint8_t salt)
{
    const struct tlog_config cfg = {.path = dir, .keys = &key, .key_cnt = 1, .seed = seed};
    struct fault f = {{0}};
    struct tlog *t = tlog_open(&cfg, &f);

    assert_non_null(t);
    for (uint64_t leaf = 0; leaf < LEAVES; leaf++) {
        uint8_t cmt[32] = {salt, (uint8_t)leaf, (uint8_t)(leaf >> 8)};

        assert_true(tlog_add(t, leaf, cmt, &f));
        if (leaf == 100 || leaf + 1 == LEAVES)
            assert_true(tlog_publish(t, &f));
    }
    tlog_free(t);
}

static enum verify_status verify(const char *dir, struct verify_report *report)
{
    const struct verify_config cfg = {.log_dir = dir, .keys = &key, .key_cnt = 1};

    return verify_run(&cfg, report);
}

static void copy(const char *from, const char *to, const char *name)
{
    char *source = file_resolve(from, name), *target = file_resolve(to, name);
    struct fault f = {{0}};
    struct buf text;

    buf_init(&text, 1u << 20);
    assert_true(file_read(source, 1u << 20, &text, &f));
    assert_true(file_write_atomic(target, text.data, text.len, 0644, &f));
    buf_free(&text);
    free(source);
    free(target);
}

/* Signs a tree that it likes and keeps the checkpoint, as only the key's owner can. */
static void keep_signed(const char *dir, const struct merkle_tree *tree)
{
    struct fault f = {{0}};
    struct buf note;

    buf_init(&note, NOTE_CHECKPOINT_MAX);
    assert_true(checkpoint_sign(&key, seed, tree, &note));
    assert_true(tlog_keep(dir, buf_str(&note), &f));
    buf_free(&note);
}

/* Entries and tiles of another log under the checkpoints of this one. */
static void forge(char real[64], char forged[64])
{
    struct verify_report report;

    fixture_dir(real);
    fixture_dir(forged);
    make_log(real, 1);
    make_log(forged, 2);
    assert_int_equal(verify(real, &report), VERIFY_OK);
    assert_int_equal(report.leaves, LEAVES);
    assert_int_equal(report.checkpoints, 3);
    assert_int_equal(verify(forged, &report), VERIFY_OK);
    copy(real, forged, "checkpoint");
    copy(real, forged, TLOG_KEPT);
}

static void test_other_entries_are_found(void **state)
{
    struct verify_report report;
    char real[64], forged[64];

    UNUSED(state);
    forge(real, forged);
    assert_int_equal(verify(forged, &report), VERIFY_TAMPERED);
    fixture_remove(real);
    fixture_remove(forged);
}

/* A checkpoint of no leaves, which any log begins with: those behind it are compared as well. */
static void test_an_empty_tree_hides_nothing(void **state)
{
    struct merkle_tree none = {.size = 0};
    struct merkle_frontier frontier = {0};
    struct verify_report report;
    char real[64], forged[64];

    UNUSED(state);
    forge(real, forged);
    merkle_root(&frontier, none.root);
    keep_signed(real, &none);
    assert_int_equal(verify(real, &report), VERIFY_OK);
    keep_signed(forged, &none);
    assert_int_equal(verify(forged, &report), VERIFY_TAMPERED);
    none.root[0] ^= 1;
    keep_signed(real, &none);
    assert_int_equal(verify(real, &report), VERIFY_TAMPERED);
    fixture_remove(real);
    fixture_remove(forged);
}

/* A whole log of 200 entries, beside whose checkpoints another one is signed. */
static enum verify_status with_signed(const struct merkle_tree *other)
{
    struct verify_report report;
    enum verify_status result;
    char dir[64];

    fixture_dir(dir);
    make_log(dir, 1);
    keep_signed(dir, other);
    result = verify(dir, &report);
    fixture_remove(dir);
    return result;
}

/* Two signed trees of one size: whichever the entries lead to, the other one is named. */
static void test_two_trees_of_one_size(void **state)
{
    const struct merkle_tree other = {.size = 200, .root = {9}};

    UNUSED(state);
    assert_int_equal(with_signed(&other), VERIFY_TAMPERED);
}

/* A size that nobody has the entries of ends soon. */
static void test_a_size_beyond_everything(void **state)
{
    const struct merkle_tree huge = {.size = INT64_MAX, .root = {9}};

    UNUSED(state);
    assert_int_not_equal(with_signed(&huge), VERIFY_OK);
}

/* --- proofs on paper ---------------------------------------------------------------------- */

#define PAPER_MAX (32u << 10)

/* A tree of `size` leaves, the one at `index` a record, as whoever has the key can make it. */
struct paper {
    struct str json;
    uint64_t index, size;
    uint8_t leaves[64][32];
    struct buf text;
};

static bool fetch(void *arg, unsigned level, uint64_t index, uint8_t out[32])
{
    const struct paper *p = arg;
    struct merkle_frontier f = {0};

    for (uint64_t i = index << level; i < (index + 1) << level; i++)
        merkle_append(&f, p->leaves[i]);
    merkle_root(&f, out);
    return true;
}

static void write_paper(struct paper *p)
{
    struct tlog_proof proof = {.index = p->index};
    struct merkle_frontier frontier = {0};
    struct merkle_tree tree = {.size = p->size};
    struct buf extra, note;
    char text[2 * PAPER_MAX];
    uint8_t cmt[32];

    buf_init(&extra, PAPER_MAX);
    buf_init(&note, NOTE_CHECKPOINT_MAX);
    buf_init(&p->text, 2 * PAPER_MAX);
    memset(p->leaves, 0x55, sizeof(p->leaves));
    assert_true(buf_append(&extra, p->leaves[0], 32) && buf_append_str(&extra, p->json));
    crypto_sha256("consentd.event.v1", 18, cmt); /* of texts that are too long: never looked at */
    if (p->json.len <= RECORD_OPLOG_MAX)
        record_commit(extra.data, p->json, cmt);
    for (unsigned i = 0; i < 64; i++)
        p->leaves[i][0] = (uint8_t)i;
    record_leaf_hash(cmt, p->leaves[p->index]);
    for (uint64_t i = 0; i < p->size; i++)
        merkle_append(&frontier, p->leaves[i]);
    merkle_root(&frontier, tree.root);
    assert_true(checkpoint_sign(&key, seed, &tree, &note));
    (void)b64_encode(text, extra.data, extra.len);
    proof.extra = str_c(text);
    proof.checkpoint = buf_str(&note);
    assert_true(merkle_prove(p->index, p->size, fetch, p, &proof.path));
    assert_true(tlog_proof_print(&proof, &p->text));
    buf_free(&extra);
    buf_free(&note);
}

/* Accepted, and if so: what it says is what p says. */
static bool holds(const struct paper *p, struct str text)
{
    struct fault f = {{0}};
    struct tlog_shown shown;
    struct buf extra;
    bool ok;

    buf_init(&extra, NOTE_PROOF_MAX);
    ok = tlog_check(&key, text, NULL, &extra, &shown, &f);
    if (ok)
        assert_true(shown.index == p->index && shown.tree.size == p->size &&
                    str_eq(shown.json, p->json));
    else
        assert_true(f.text[0] != '\0');
    buf_free(&extra);
    return ok;
}

static struct str event_json(struct buf *out)
{
    struct consent_event ev = fixture_event();

    buf_init(out, RECORD_JSON_MAX);
    assert_true(record_canonical(&ev, fixture_names, out));
    return buf_str(out);
}

/* Whatever a byte becomes: refused, or the same is said. */
static void test_every_byte_of_a_proof(void **state)
{
    static const char others[] = " \n\r\t=0A+-/\x00\xff";
    struct paper p = {.index = 5, .size = 11};
    unsigned accepted = 0;
    struct buf json;

    UNUSED(state);
    p.json = event_json(&json);
    write_paper(&p);
    assert_true(holds(&p, buf_str(&p.text)));
    for (size_t i = 0; i < p.text.len; i++) {
        uint8_t was = p.text.data[i];

        for (unsigned k = 0; k < 8 + sizeof(others); k++) {
            p.text.data[i] = (uint8_t)(k < 8 ? was ^ 1u << k : (uint8_t)others[k - 8]);
            accepted += p.text.data[i] != was && holds(&p, buf_str(&p.text)) ? 1 : 0;
        }
        p.text.data[i] = was;
        assert_false(holds(&p, str_slice(buf_str(&p.text), 0, i)));
    }
    assert_int_equal(accepted, 0);
    buf_free(&p.text);
    buf_free(&json);
}

static unsigned split_lines(struct str text, struct str lines[64])
{
    unsigned cnt = 0;

    while (text.len > 0 && cnt < 64)
        (void)str_cut(&text, '\n', &lines[cnt++]);
    return cnt;
}

/* Lines left out, doubled, in another order, one added. */
static void test_every_line_of_a_proof(void **state)
{
    struct paper p = {.index = 37, .size = 61};
    struct str lines[64];
    struct buf json, text;
    unsigned cnt;

    UNUSED(state);
    p.json = event_json(&json);
    write_paper(&p);
    cnt = split_lines(buf_str(&p.text), lines);
    buf_init(&text, 2 * PAPER_MAX);
    for (unsigned a = 0; a < cnt; a++)
        for (unsigned b = 0; b <= cnt; b++) {
            buf_clear(&text);
            for (unsigned i = 0; i < cnt; i++) {
                unsigned from = i == a ? b : i == b ? a : i; /* a and b change places */

                if (from < cnt)
                    assert_true(buf_append_str(&text, lines[from]) && buf_append_c(&text, "\n"));
                if (b == a && i == a) /* twice */
                    assert_true(buf_append_str(&text, lines[i]) && buf_append_c(&text, "\n"));
            }
            if (holds(&p, buf_str(&text))) /* the same line, or a signature more */
                assert_true(a == b ? a + 1 == cnt : b < cnt && str_eq(lines[a], lines[b]));
        }
    buf_free(&text);
    buf_free(&p.text);
    buf_free(&json);
}

/* The same leaf under every other number and in trees of every other size. */
static void test_other_places(void **state)
{
    struct paper p = {.index = 5}, other;
    struct buf json, text;

    UNUSED(state);
    p.json = event_json(&json);
    buf_init(&text, 2 * PAPER_MAX);
    for (p.size = 6; p.size <= 64; p.size++) {
        struct str head, tail;

        write_paper(&p);
        assert_true(holds(&p, buf_str(&p.text)));
        tail = buf_str(&p.text);
        head = str_slice(tail, 0, (size_t)str_find(tail, STR("\nindex 5\n")) + 7);
        tail = str_slice(tail, head.len + 1, tail.len);
        for (other = p, other.index = 0; other.index < 80; other.index++) {
            buf_clear(&text);
            assert_true(buf_append_str(&text, head) &&
                        buf_printf(&text, "%llu", (unsigned long long)other.index) &&
                        buf_append_str(&text, tail));
            assert_true(holds(&other, buf_str(&text)) == (other.index == 5));
        }
        buf_clear(&text);
        assert_true(buf_append_str(&text, head) && buf_append_c(&text, "18446744073709551621") &&
                    buf_append_str(&text, tail));
        assert_false(holds(&p, buf_str(&text)));
        buf_free(&p.text);
    }
    buf_free(&text);
    buf_free(&json);
}

/* What the key's owner has signed, and what could be read in two ways. */
static void test_records_that_are_none(void **state)
{
    static const char *const bad[] = {
        "{}",
        "hello",
        "{\"act\":\"accept_all\",\"act\":\"withdraw\",\"v\":1}",
        "{\"op\":{\"who\":\"a\", \"op\":\"x\"},\"ts\":1,\"v\":1}",
        "{\"op\":{\"a\":1,\"a\":2},\"ts\":1,\"v\":1}",
        "{\"op\":{\"b\":1,\"a\":2},\"ts\":1,\"v\":1}",
        "{\"op\":{\"a\":\"\x1b[2J\"},\"ts\":1,\"v\":1}",
        "{\"op\":{\"a\":1},\"ts\":01,\"v\":1}",
        "{\"op\":{\"a\":1},\"ts\":1,\"v\":1}{\"op\":{\"a\":1},\"ts\":1,\"v\":1}",
    };
    struct paper p = {.json = STR("{\"op\":{\"a\":1},\"ts\":1,\"v\":1}"), .index = 3, .size = 4};
    static char large[RECORD_OPLOG_MAX + 100];

    UNUSED(state);
    write_paper(&p);
    assert_true(holds(&p, buf_str(&p.text)));
    buf_free(&p.text);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        p.json = str_c(bad[i]);
        write_paper(&p);
        assert_false(holds(&p, buf_str(&p.text)));
        buf_free(&p.text);
    }
    memset(large, 'x', sizeof(large));
    p.json = str_make(large, sizeof(large));
    write_paper(&p);
    assert_false(holds(&p, buf_str(&p.text)));
    buf_free(&p.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_entries_are_found),
        cmocka_unit_test(test_an_empty_tree_hides_nothing),
        cmocka_unit_test(test_two_trees_of_one_size),
        cmocka_unit_test(test_a_size_beyond_everything),
        cmocka_unit_test(test_every_byte_of_a_proof),
        cmocka_unit_test(test_every_line_of_a_proof),
        cmocka_unit_test(test_other_places),
        cmocka_unit_test(test_records_that_are_none),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
