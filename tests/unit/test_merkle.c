/*
 * Trees, proofs, notes: the published vectors, every size up to 300, and what must not verify.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "consentd/merkle.h"
#include "consentd/note.h"

#define SIZE_MAX_TRIED 300

/* A tree by the definition of RFC 6962 2.1 itself. */
struct world {
    uint8_t leaves[SIZE_MAX_TRIED][32];
};

static void by_definition(const struct world *w, uint64_t from, uint64_t n, uint8_t out[32])
{
    uint8_t left[32], right[32];
    uint64_t half = 1;

    if (n == 1) {
        memcpy(out, w->leaves[from], 32);
        return;
    }
    while (half * 2 < n)
        half *= 2;
    by_definition(w, from, half, left);
    by_definition(w, from + half, n - half, right);
    merkle_node(left, right, out);
}

static bool fetch(void *arg, unsigned level, uint64_t index, uint8_t out[32])
{
    by_definition(arg, index << level, UINT64_C(1) << level, out);
    return true;
}

static void world_make(struct world *w)
{
    for (unsigned i = 0; i < SIZE_MAX_TRIED; i++) {
        uint8_t entry[2] = {(uint8_t)(i >> 8), (uint8_t)i};

        merkle_leaf(str_make(entry, 2), w->leaves[i]);
    }
}

/* The reference tree of the Certificate Transparency project: eight entries, all sizes. */
static void test_published_roots(void **state)
{
    static const struct {
        const char *entry, *root;
    } rows[] = {
        {"", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
        {"00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"},
        {"10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"},
        {"2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"},
        {"3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"},
        {"40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"},
        {"5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"},
        {"606162636465666768696a6b6c6d6e6f",
         "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"},
    };
    struct merkle_frontier f = {0};
    uint8_t root[32];
    char text[65];

    (void)state;
    merkle_root(&f, root);
    hex_encode(text, root, 32);
    assert_string_equal(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t entry[16], leaf[32];
        size_t len = strlen(rows[i].entry) / 2;

        assert_true(hex_decode(str_c(rows[i].entry), entry, len));
        merkle_leaf(str_make(entry, len), leaf);
        merkle_append(&f, leaf);
        merkle_root(&f, root);
        hex_encode(text, root, 32);
        assert_string_equal(text, rows[i].root);
    }
}

static void test_every_size(void **state)
{
    static struct world w;
    struct merkle_frontier f = {0};

    (void)state;
    world_make(&w);
    for (uint64_t size = 1; size <= SIZE_MAX_TRIED; size++) {
        uint8_t root[32], other[32];

        merkle_append(&f, w.leaves[size - 1]);
        merkle_root(&f, root);
        by_definition(&w, 0, size, other);
        assert_memory_equal(root, other, 32);
        assert_true(merkle_root_at(size, fetch, &w, other));
        assert_memory_equal(root, other, 32);
    }
}

static void test_inclusion(void **state)
{
    static struct world w;
    struct merkle_proof proof;

    (void)state;
    world_make(&w);
    for (uint64_t size = 1; size <= 130; size++) {
        uint8_t root[32];

        by_definition(&w, 0, size, root);
        assert_false(merkle_prove(size, size, fetch, &w, &proof));
        for (uint64_t leaf = 0; leaf < size; leaf++) {
            assert_true(merkle_prove(leaf, size, fetch, &w, &proof));
            assert_true(merkle_check(w.leaves[leaf], leaf, size, &proof, root));
            assert_false(merkle_check(w.leaves[leaf], leaf + 1, size, &proof, root) && size > 1);
            assert_false(merkle_check(w.leaves[leaf + 1], leaf, size, &proof, root));
            if (proof.cnt == 0)
                continue;
            proof.hash[proof.cnt / 2][7] ^= 1;
            assert_false(merkle_check(w.leaves[leaf], leaf, size, &proof, root));
            proof.hash[proof.cnt / 2][7] ^= 1;
            proof.cnt--;
            assert_false(merkle_check(w.leaves[leaf], leaf, size, &proof, root));
        }
    }
}

static void test_consistency(void **state)
{
    static struct world w;
    struct merkle_proof proof;

    (void)state;
    world_make(&w);
    for (uint64_t size = 1; size <= 100; size++) {
        struct merkle_tree now = {.size = size};

        by_definition(&w, 0, size, now.root);
        for (uint64_t before = 1; before <= size; before++) {
            struct merkle_tree old = {.size = before};

            by_definition(&w, 0, before, old.root);
            assert_true(merkle_prove_consistency(before, size, fetch, &w, &proof));
            assert_true(merkle_check_consistency(&old, &now, &proof));
            old.root[3] ^= 1;
            assert_false(merkle_check_consistency(&old, &now, &proof));
            old.root[3] ^= 1;
            now.root[31] ^= 1;
            assert_false(merkle_check_consistency(&old, &now, &proof));
            now.root[31] ^= 1;
            if (proof.cnt == 0)
                continue;
            proof.cnt--;
            assert_false(merkle_check_consistency(&old, &now, &proof));
        }
    }
}

/* --- notes: C2SP ----------------------------------------------------------------------- */

#define LOG_NAME "www.netstreem.com/consent/1"
static const char vkey[] =
    "www.netstreem.com/consent/1+c182798a+AddZeTu8E6KBmoJ8dq22+6ikmu4Af0ny0JktmbglrSxI";
static const char note[] =
    "www.netstreem.com/consent/1\n1\nYsiWPNvuzb4rMWNQUXZn3lYFLTJkVRAjEvXdXDJHQVU=\n\n"
    "\xE2\x80\x94 www.netstreem.com/consent/1 "
    "wYJ5iozIngnNzFPzOFx18wjcQUzlnXpzCxQ86txgy3U8BHxMofL8468TRr2XYZK/"
    "aZ2L1e0srZuEc/OCzBh+icywsg8=\n";

static void test_the_published_note(void **state)
{
    struct note_key key, read;
    struct merkle_tree tree;
    struct fault f = {{0}};
    struct buf out;
    uint8_t seed[32];

    (void)state;
    memset(seed, 0x44, sizeof(seed));
    buf_init(&out, 4096);
    assert_true(note_key_of(STR(LOG_NAME), seed, &key));
    assert_true(note_vkey_print(&key, &out));
    assert_string_equal(buf_cstr(&out), vkey);
    assert_true(note_vkey_parse(str_c(vkey), &read, &f));
    assert_memory_equal(read.public_key, key.public_key, 32);
    assert_true(checkpoint_verify(&read, str_c(note), &tree, &f));
    assert_int_equal(tree.size, 1);
    buf_clear(&out);
    assert_true(checkpoint_sign(&key, seed, &tree, &out));
    assert_string_equal(buf_cstr(&out), note); /* Ed25519 is deterministic */
    buf_free(&out);
}

/* Every changed byte of it is noticed, wherever it is. */
static void test_changed_notes(void **state)
{
    struct note_key key;
    struct merkle_tree tree;
    struct fault f = {{0}};
    char text[sizeof(note)];

    (void)state;
    assert_true(note_vkey_parse(str_c(vkey), &key, &f));
    for (size_t i = 0; i + 1 < sizeof(note); i++) {
        memcpy(text, note, sizeof(note));
        text[i] ^= 1;
        f = (struct fault){{0}};
        tree.size = 1;
        assert_false(checkpoint_verify(&key, str_make(text, sizeof(note) - 1), &tree, &f));
        assert_int_equal(tree.size, 0); /* what is not believed is not told */
        assert_true(f.text[0] != '\0');
        assert_false(checkpoint_verify(&key, str_make(note, i), &tree, &f));
    }
    for (size_t i = 0; i + 1 < sizeof(vkey); i++) {
        char changed[sizeof(vkey)];

        memcpy(changed, vkey, sizeof(vkey));
        changed[i] ^= 1;
        if (note_vkey_parse(str_c(changed), &key, &f)) /* one letter of the hex in the other case */
            assert_true(ascii_lower(changed[i]) == vkey[i]);
    }
}

static void test_proofs_on_paper(void **state)
{
    struct tlog_proof proof = {.extra = STR("YWJj"), .index = 5, .checkpoint = str_c(note)};
    struct tlog_proof read;
    struct fault f = {{0}};
    struct buf out;

    (void)state;
    proof.path.cnt = 3;
    memset(proof.path.hash, 7, 3 * 32u);
    buf_init(&out, NOTE_PROOF_MAX);
    assert_true(tlog_proof_print(&proof, &out));
    assert_true(tlog_proof_parse(buf_str(&out), &read, &f));
    assert_true(str_eq_c(read.extra, "YWJj") && str_eq_c(read.checkpoint, note));
    assert_int_equal(read.index, 5);
    assert_int_equal(read.path.cnt, 3);
    assert_memory_equal(read.path.hash, proof.path.hash, 3 * 32u);
    for (size_t i = 0; i < out.len - sizeof(note); i++) {
        struct fault why = {{0}};

        if (!tlog_proof_parse(str_slice(buf_str(&out), 0, i), &read, &why))
            assert_true(why.text[0] != '\0');
    }
    buf_free(&out);
}

/* --- cosignatures: C2SP tlog-cosignature --------------------------------------------------- */

/*
 * Made by Python's cryptography over the note above: seeds 0x55 and 0x66 32 times, time 1795470842.
 * "later" is a second later; "far" has a time of 2^63; "other" is under a checkpoint of
 * www.netstreem.com/consent/65; "forged" has the first witness's name and id, and the second's
 * signature; "plain" signs the note without the two lines in front of it.
 */
static const char w1_vkey[] =
    "witness.example/w1+201796ae+BMaCJjfH0xDsV2J74AuiWdJTdJ9Kr2REcM/75To19zJC";
static const char w2_vkey[] =
    "witness.example/w2+6446244b+BDS02QQxVsttzwvrCilJt1WclA0ry22+jFOpswJ446dG";
static const char by_w1[] =
    "\xE2\x80\x94 witness.example/w1 "
    "IBeWrgAAAABrBLX6gVHBZ6ARyPbbm4QXSlZRQlJdTK/WY6We/v826s4BW6g7ljinp+AolGPGkSdW"
    "SFoah0vE0NhfiW32IC6PmBOzBQ==\n";
static const char by_w1_later[] =
    "\xE2\x80\x94 witness.example/w1 "
    "IBeWrgAAAABrBLX7K2HXmCjEdyyfLK6ySwylQaO3LgMJO1LdFNHHvrKNFSe3rYhGOPz1uTcPs0RI"
    "EVtI5FnUJ70hWt6KGcshCf0ECg==\n";
static const char by_w1_far[] =
    "\xE2\x80\x94 witness.example/w1 "
    "IBeWroAAAAAAAAAA5GPCf4sRTAOZjDvsp88YWRbQ+wjxca2gQffWw2AHpMemREPmyHrHEhCJORj9"
    "xtvCAK2ujyrQ6qKf8596nkvtDA==\n";
static const char by_w2[] =
    "\xE2\x80\x94 witness.example/w2 "
    "ZEYkSwAAAABrBLX6AfW4CJ937C8eLs19OpwB/zus/sHKFL6PARtR2l3bSmtgSOAxfts3yE0hjYmR"
    "SblWazu1/eJ5G+cg7q8ZU99bCQ==\n";
static const char by_w1_other[] =
    "\xE2\x80\x94 witness.example/w1 "
    "IBeWrgAAAABrBLX65vY4jnlatzpONVPOUFBRDK2TfjucdC+FWjETKDV91NFA47SYliScDe17V0em"
    "Aqu/cfsGoctnvHzFfUyqiG7IDQ==\n";
static const char forged[] =
    "\xE2\x80\x94 witness.example/w1 "
    "IBeWrgAAAABrBLX6AfW4CJ937C8eLs19OpwB/zus/sHKFL6PARtR2l3bSmtgSOAxfts3yE0hjYmR"
    "SblWazu1/eJ5G+cg7q8ZU99bCQ==\n";
static const char plain[] =
    "\xE2\x80\x94 witness.example/w1 "
    "IBeWrgAAAABrBLX6pLpKkyLdQlwrZIM2CJQF4nuorp4kg4zbzHDlUmU0NPPj66cH5O+jQMJRhjUS"
    "0NXjgNaoXrQc0SInCyleMzEnCw==\n";

/* The witness's cosignature of the note among these lines; "" with a reason. */
static struct str found(const char *witness_vkey, struct str lines)
{
    struct note_key witness;
    struct fault f = {{0}}, why = {{0}};
    struct str line;

    assert_true(note_witness_parse(str_c(witness_vkey), &witness, &f));
    line = note_cosignature(&witness, str_c(note), lines, &why);
    assert_true(line.len > 0 || strstr(why.text, witness.name) != NULL);
    return line;
}

static bool is_line(struct str line, const char *text)
{
    return line.len > 0 && line.len + 1 == strlen(text) && str_eq(line, str_make(text, line.len));
}

static void test_cosignatures(void **state)
{
    char both[1024];

    (void)state;
    assert_true(is_line(found(w1_vkey, str_c(by_w1)), by_w1));
    assert_true(is_line(found(w1_vkey, str_c(by_w1_later)), by_w1_later));
    assert_true(is_line(found(w2_vkey, str_c(by_w2)), by_w2));
    /* among others, in any order; a wrong one in front hides no right one */
    snprintf(both, sizeof(both), "%s%s%s", by_w2, forged, by_w1);
    assert_true(is_line(found(w1_vkey, str_c(both)), by_w1));
    assert_true(is_line(found(w2_vkey, str_c(both)), by_w2));
    assert_int_equal(found(w2_vkey, str_c(by_w1)).len, 0);
    assert_int_equal(found(w1_vkey, str_c(by_w1_other)).len, 0);
    assert_int_equal(found(w1_vkey, str_c(by_w1_far)).len, 0);
    assert_int_equal(found(w1_vkey, str_c(forged)).len, 0);
    assert_int_equal(found(w1_vkey, str_c(plain)).len, 0);
    assert_int_equal(found(w1_vkey, STR("")).len, 0);
    assert_int_equal(found(w1_vkey, str_c(note)).len, 0); /* the log's own is none */
}

/* Cut anywhere, or with another letter anywhere, it is none. */
static void test_changed_cosignatures(void **state)
{
    char text[sizeof(by_w1)];
    struct note_key key;
    struct fault f = {{0}};

    (void)state;
    for (size_t i = 0; i + 1 < sizeof(by_w1); i++) {
        assert_int_equal(found(w1_vkey, str_make(by_w1, i)).len, 0);
        memcpy(text, by_w1, sizeof(text));
        text[i] ^= 1;
        assert_int_equal(found(w1_vkey, str_make(text, sizeof(text) - 1)).len, 0);
    }
    /* a key of another type, or with another id, is no witness's */
    assert_false(note_witness_parse(str_c(vkey), &key, &f));
    assert_false(note_vkey_parse(str_c(w1_vkey), &key, &f));
    for (size_t i = 0; i + 1 < sizeof(w1_vkey); i++) {
        char changed[sizeof(w1_vkey)];

        memcpy(changed, w1_vkey, sizeof(w1_vkey));
        changed[i] ^= 1;
        if (note_witness_parse(str_c(changed), &key, &f)) /* hex in the other case */
            assert_true(ascii_lower(changed[i]) == w1_vkey[i]);
    }
}

/* One line of each witness, the newest in the place of the one before; the log's stays. */
static void test_cosigned_notes(void **state)
{
    struct note_key log, w1, w2;
    struct merkle_tree tree;
    struct fault f = {{0}};
    struct buf out;

    (void)state;
    buf_init(&out, NOTE_CHECKPOINT_MAX);
    assert_true(note_vkey_parse(str_c(vkey), &log, &f));
    assert_true(note_witness_parse(str_c(w1_vkey), &w1, &f));
    assert_true(note_witness_parse(str_c(w2_vkey), &w2, &f));
    assert_true(buf_append_c(&out, note));
    assert_true(note_cosign(&out, &w1, str_make(by_w1, strlen(by_w1) - 1)));
    assert_true(note_cosign(&out, &w2, str_make(by_w2, strlen(by_w2) - 1)));
    assert_true(note_cosign(&out, &w1, str_make(by_w1_later, strlen(by_w1_later) - 1)));
    assert_int_equal(out.len, strlen(note) + strlen(by_w2) + strlen(by_w1_later));
    assert_true(str_starts(buf_str(&out), str_c(note)));
    assert_true(str_find(buf_str(&out), str_c(by_w1)) < 0);
    assert_true(is_line(found(w1_vkey, buf_str(&out)), by_w1_later));
    assert_true(checkpoint_verify(&log, buf_str(&out), &tree, &f) && tree.size == 1);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_roots),
        cmocka_unit_test(test_every_size),
        cmocka_unit_test(test_inclusion),
        cmocka_unit_test(test_consistency),
        cmocka_unit_test(test_the_published_note),
        cmocka_unit_test(test_changed_notes),
        cmocka_unit_test(test_proofs_on_paper),
        cmocka_unit_test(test_cosignatures),
        cmocka_unit_test(test_changed_cosignatures),
        cmocka_unit_test(test_cosigned_notes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
