/*
 * note.c - contract in consentd/note.h.
 */
#include "consentd/note.h"

#include <stdio.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/crypto.h"

#define SIG_ED25519 1
#define SIG_WITNESS 4               /* Ed25519 over a time and the note */
#define SIG_MARK    "\xE2\x80\x94 " /* em dash, space */
#define PROOF_HEAD  "c2sp.org/tlog-proof@v1"
#define SIG_LEN     64
#define COSIG_LEN   (4 + 8 + SIG_LEN) /* key id, time, signature */

static bool name_is_good(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];

        if (c <= ' ' || c == '+' || c == 0x7F)
            return false;
    }
    return name.len > 0 && name.len <= NOTE_NAME_MAX;
}

static void key_id(const char *name, uint8_t type, const uint8_t public_key[32], uint8_t out[4])
{
    struct crypto_hash h;
    uint8_t digest[32];

    crypto_sha256_init(&h);
    crypto_sha256_update(&h, name, strlen(name));
    crypto_sha256_update(&h, "\n", 1);
    crypto_sha256_update(&h, &type, 1);
    crypto_sha256_update(&h, public_key, 32);
    crypto_sha256_final(&h, digest);
    memcpy(out, digest, 4);
}

static bool key_fill(struct str name, uint8_t type, struct note_key *out)
{
    if (!name_is_good(name))
        return false;
    memcpy(out->name, name.ptr, name.len);
    out->name[name.len] = '\0';
    key_id(out->name, type, out->public_key, out->id);
    return true;
}

bool note_key_of(struct str name, const uint8_t seed[32], struct note_key *out)
{
    crypto_ed25519_public(seed, out->public_key);
    return key_fill(name, SIG_ED25519, out);
}

bool note_key_named(struct str name, const uint8_t public_key[32], struct note_key *out)
{
    memmove(out->public_key, public_key, sizeof(out->public_key));
    return key_fill(name, SIG_ED25519, out);
}

bool note_origin(const char *log, unsigned node, struct buf *out)
{
    return buf_printf(out, "%s/consent/%u", log, node);
}

bool note_vkey_print(const struct note_key *key, struct buf *out)
{
    uint8_t raw[33] = {SIG_ED25519};
    char id[9], text[B64_PADDED_LEN(sizeof(raw)) + 1];

    memcpy(raw + 1, key->public_key, 32);
    hex_encode(id, key->id, 4);
    b64_encode(text, raw, sizeof(raw));
    return buf_printf(out, "%s+%s+%s", key->name, id, text);
}

/* Base64 of exactly this many bytes. */
static bool take_b64(struct str text, uint8_t *to, size_t len)
{
    struct buf raw;
    bool ok;

    buf_init(&raw, len + 3);
    ok = b64_decode(text, &raw) && raw.len == len;
    if (ok)
        memcpy(to, raw.data, len);
    buf_free(&raw);
    return ok;
}

static bool vkey_parse(struct str vkey, uint8_t type, struct note_key *out, struct fault *f)
{
    struct str rest = str_trim(vkey), name, id_text;
    uint8_t raw[33], id[4];

    if (!str_cut(&rest, '+', &name) || !str_cut(&rest, '+', &id_text) ||
        !hex_decode(id_text, id, sizeof(id)) || !take_b64(rest, raw, sizeof(raw))) {
        fault_set(f, "not a vkey: expected NAME+HEX+BASE64 of 33 bytes");
        return false;
    }
    if (raw[0] != type) {
        fault_set(f, "the vkey is for signatures of type %u; this reads %s (%u)", raw[0],
                  type == SIG_WITNESS ? "Ed25519 cosignatures" : "Ed25519", type);
        return false;
    }
    memcpy(out->public_key, raw + 1, 32);
    if (!key_fill(name, type, out) || memcmp(out->id, id, sizeof(id)) != 0) {
        fault_set(f, "the vkey's id does not belong to its name and key: mistyped?");
        return false;
    }
    return true;
}

bool note_vkey_parse(struct str vkey, struct note_key *out, struct fault *f)
{
    return vkey_parse(vkey, SIG_ED25519, out, f);
}

bool note_witness_parse(struct str vkey, struct note_key *out, struct fault *f)
{
    return vkey_parse(vkey, SIG_WITNESS, out, f);
}

/* --- checkpoints --------------------------------------------------------------------- */

bool checkpoint_sign(const struct note_key *key, const uint8_t seed[32],
                     const struct merkle_tree *tree, struct buf *out)
{
    char root[B64_PADDED_LEN(32) + 1], text[B64_PADDED_LEN(4 + SIG_LEN) + 1];
    uint8_t raw[4 + SIG_LEN];
    size_t from = out->len;

    b64_encode(root, tree->root, 32);
    if (!buf_printf(out, "%s\n%llu\n%s\n", key->name, (unsigned long long)tree->size, root))
        return false;
    memcpy(raw, key->id, 4);
    crypto_ed25519_sign(seed, str_slice(buf_str(out), from, out->len), raw + 4);
    b64_encode(text, raw, sizeof(raw));
    return buf_printf(out, "\n" SIG_MARK "%s %s\n", key->name, text);
}

static bool take_line(struct str *rest, struct str *line)
{
    return str_find_char(*rest, '\n') >= 0 && str_cut(rest, '\n', line);
}

/* The three lines. */
static bool read_body(const struct note_key *key, struct str body, struct merkle_tree *out,
                      struct fault *f)
{
    struct str origin, size, root;
    char canonical[24];

    if (!take_line(&body, &origin) || !take_line(&body, &size) || !take_line(&body, &root) ||
        !str_to_u64(size, (uint64_t)INT64_MAX, &out->size) || !take_b64(root, out->root, 32)) {
        fault_set(f, "not a checkpoint: expected lines of origin, size and root hash");
        return false;
    }
    (void)snprintf(canonical, sizeof(canonical), "%llu", (unsigned long long)out->size);
    if (!str_eq_c(size, canonical)) {
        fault_set(f, "not a checkpoint: the size is not written in its one form");
        return false;
    }
    if (!str_eq_c(origin, key->name)) {
        fault_set(f, "a checkpoint of \"%.*s\", expected \"%s\"", STR_ARGS(origin), key->name);
        return false;
    }
    return true;
}

/* A line of a signature: by this key? *ok: and right. */
static bool is_ours(const struct note_key *key, struct str line, struct str body, bool *ok)
{
    struct str name;
    uint8_t raw[4 + SIG_LEN];

    *ok = false;
    if (!str_starts(line, STR(SIG_MARK)))
        return false;
    line = str_slice(line, sizeof(SIG_MARK) - 1, line.len);
    if (!str_cut(&line, ' ', &name) || !str_eq_c(name, key->name) ||
        !take_b64(line, raw, sizeof(raw)) || memcmp(raw, key->id, 4) != 0)
        return false;
    *ok = crypto_ed25519_verify(key->public_key, body, raw + 4);
    return true;
}

/* Behind the empty line: lines that begin as signatures do, and nothing else. */
static bool only_signatures(struct str rest)
{
    struct str line;

    while (take_line(&rest, &line))
        if (!str_starts(line, STR(SIG_MARK)))
            return false;
    return rest.len == 0;
}

bool checkpoint_verify(const struct note_key *key, struct str note, struct merkle_tree *out,
                       struct fault *f)
{
    ptrdiff_t gap = str_find(note, STR("\n\n"));
    struct str body, rest, line;
    struct merkle_tree tree = {0};

    *out = tree; /* nothing is told of a note before its signature is right */
    if (note.len > NOTE_CHECKPOINT_MAX || gap < 0) {
        fault_set(f, "not a signed note: no empty line in front of signatures");
        return false;
    }
    body = str_slice(note, 0, (size_t)gap + 1);
    rest = str_slice(note, (size_t)gap + 2, note.len);
    if (!read_body(key, body, &tree, f))
        return false;
    if (!only_signatures(rest)) {
        fault_set(f, "not a signed note: a line behind the empty one is no signature");
        return false;
    }
    while (take_line(&rest, &line)) {
        bool ok;

        if (!is_ours(key, line, body, &ok))
            continue;
        if (ok)
            *out = tree;
        else
            fault_set(f, "the signature of %s is wrong", key->name);
        return ok;
    }
    fault_set(f, "not signed by %s", key->name);
    return false;
}

/* --- cosignatures -------------------------------------------------------------------- */

/* A line by this key, taken apart. */
static bool is_cosignature(const struct note_key *key, struct str line, uint8_t raw[COSIG_LEN])
{
    struct str name;

    if (!str_starts(line, STR(SIG_MARK)))
        return false;
    line = str_slice(line, sizeof(SIG_MARK) - 1, line.len);
    return str_cut(&line, ' ', &name) && str_eq_c(name, key->name) &&
           take_b64(line, raw, COSIG_LEN) && memcmp(raw, key->id, 4) == 0;
}

/* Over two lines of its own and the note's text. */
static bool cosignature_is_right(const struct note_key *key, struct str body,
                                 const uint8_t raw[COSIG_LEN])
{
    struct buf text;
    uint64_t time = 0;
    bool ok;

    for (unsigned i = 0; i < 8; i++)
        time = time << 8 | raw[4 + i];
    buf_init(&text, NOTE_CHECKPOINT_MAX);
    ok = time <= (uint64_t)INT64_MAX &&
         buf_printf(&text, "cosignature/v1\ntime %llu\n", (unsigned long long)time) &&
         buf_append_str(&text, body) &&
         crypto_ed25519_verify(key->public_key, buf_str(&text), raw + 12);
    buf_free(&text);
    return ok;
}

struct str note_cosignature(const struct note_key *witness, struct str note, struct str lines,
                            struct fault *f)
{
    ptrdiff_t gap = str_find(note, STR("\n\n"));
    struct str line;
    uint8_t raw[COSIG_LEN];

    fault_set(f, "no cosignature of %s", witness->name);
    while (gap >= 0 && take_line(&lines, &line)) {
        if (!is_cosignature(witness, line, raw))
            continue;
        if (cosignature_is_right(witness, str_slice(note, 0, (size_t)gap + 1), raw))
            return line;
        fault_set(f, "the cosignature of %s is wrong", witness->name);
    }
    return STR("");
}

bool note_cosign(struct buf *note, const struct note_key *witness, struct str line)
{
    struct buf whole;
    struct str rest = buf_str(note), part;
    uint8_t raw[COSIG_LEN];
    bool ok = true;

    buf_init(&whole, NOTE_CHECKPOINT_MAX);
    while (ok && take_line(&rest, &part))
        if (!is_cosignature(witness, part, raw))
            ok = buf_append_str(&whole, part) && buf_append_c(&whole, "\n");
    ok = ok && buf_append_str(&whole, line) && buf_append_c(&whole, "\n");
    if (ok) {
        buf_clear(note);
        ok = buf_append_str(note, buf_str(&whole));
    }
    buf_free(&whole);
    return ok;
}

/* --- proofs ------------------------------------------------------------------------------ */

bool tlog_proof_print(const struct tlog_proof *proof, struct buf *out)
{
    bool ok = buf_append_c(out, PROOF_HEAD "\n");

    if (proof->extra.len > 0)
        ok = ok && buf_printf(out, "extra %.*s\n", STR_ARGS(proof->extra));
    ok = ok && buf_printf(out, "index %llu\n", (unsigned long long)proof->index);
    for (unsigned i = 0; i < proof->path.cnt && ok; i++) {
        char text[B64_PADDED_LEN(32) + 1];

        b64_encode(text, proof->path.hash[i], 32);
        ok = buf_printf(out, "%s\n", text);
    }
    return ok && buf_append_c(out, "\n") && buf_append_str(out, proof->checkpoint);
}

static bool read_path(struct str *rest, struct merkle_proof *out)
{
    struct str line;

    out->cnt = 0;
    while (take_line(rest, &line)) {
        if (line.len == 0)
            return true;
        if (out->cnt == MERKLE_PROOF_MAX || !take_b64(line, out->hash[out->cnt++], 32))
            return false;
    }
    return false;
}

bool tlog_proof_parse(struct str text, struct tlog_proof *out, struct fault *f)
{
    struct str rest = text, line;

    *out = (struct tlog_proof){0};
    if (text.len > NOTE_PROOF_MAX || !take_line(&rest, &line) || !str_eq_c(line, PROOF_HEAD)) {
        fault_set(f, "not a proof: the first line is not \"" PROOF_HEAD "\"");
        return false;
    }
    if (!take_line(&rest, &line))
        line = STR("");
    if (str_starts(line, STR("extra "))) {
        out->extra = str_slice(line, 6, line.len);
        if (!take_line(&rest, &line))
            line = STR("");
    }
    if (!str_starts(line, STR("index ")) ||
        !str_to_u64(str_slice(line, 6, line.len), (uint64_t)INT64_MAX, &out->index)) {
        fault_set(f, "not a proof: no line \"index NUMBER\"");
        return false;
    }
    if (!read_path(&rest, &out->path)) {
        fault_set(f, "not a proof: the hashes are not base64 of 32 bytes with an empty line "
                     "behind them");
        return false;
    }
    out->checkpoint = rest;
    return true;
}
