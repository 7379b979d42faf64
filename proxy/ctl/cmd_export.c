/*
 * cmd_export.c - consentctl audit export: a long answer into a file.
 *
 *   FILE.part     what came so far
 *   FILE.resume   how much of it is safe, the cursor behind it, and of which question: written
 *                 about once a second, so that a second run of the same command goes on there
 *
 * At the end the manifest, the last line, is compared with the bytes before it; then the file
 * gets its name.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/ledger_msg.h"
#include "consentd/mem.h"
#include "consentd/note.h"
#include "consentd/query.h"
#include "consentd/query_text.h"
#include "ctl_priv.h"

#define SAVE_MS    1000  /* between two notes of how far it is */
#define SHOW_MS    200   /* between two signs of life on a terminal */
#define RESUME_MAX 65536 /* bytes of the note */
#define LAST_MAX   65536 /* bytes of the manifest's line */
#define TRIES      5     /* after cuts, each of which brought something */

struct export
{
    const struct ctl_args *args;
    const char *file;     /* NULL: standard output */
    char *part, *resume;  /* owned */
    const char *question; /* the target without a cursor */
    FILE *out;
    uint64_t bytes, safe_bytes; /* written; up to the last whole chunk */
    uint64_t lines, at_start;
    uint64_t begun_ms, saved_ms, shown_ms;
    char cursor[1024]; /* behind safe_bytes */
    bool broken;       /* the file can't be written */
};

/* --- progress ---------------------------------- */

static void show(struct export *x, bool last)
{
    uint64_t now = clock_mono_ms();
    double s = (double)(now - x->begun_ms) / 1000;

    if (!isatty(STDERR_FILENO) || (!last && now - x->shown_ms < SHOW_MS))
        return;
    x->shown_ms = now;
    if (last)
        (void)fputs("\r\033[K", stderr);
    else
        (void)fprintf(stderr, "\r\033[K%" PRIu64 " lines  %.1f MB  %.1f MB/s", x->lines,
                      (double)x->bytes / 1e6,
                      s > 0 ? (double)(x->bytes - x->at_start) / 1e6 / s : 0);
}

/* --- the file ---------------------------------- */

static bool save(struct export *x)
{
    struct fault f = {{0}};
    struct buf note;
    bool ok;

    if (x->file == NULL)
        return true;
    buf_init(&note, RESUME_MAX);
    ok = fflush(x->out) == 0 && fdatasync(fileno(x->out)) == 0 &&
         buf_printf(&note, "%" PRIu64 "\n%s\n%s\n", x->safe_bytes, x->cursor, x->question) &&
         file_write_atomic(x->resume, note.data, note.len, 0600, &f);
    buf_free(&note);
    if (!ok)
        (void)ctl_fail("%s: %s", x->resume, f.text[0] != '\0' ? f.text : strerror(errno));
    x->saved_ms = clock_mono_ms();
    return ok;
}

static bool on_data(void *arg, struct str data)
{
    struct export *x = arg;

    if (fwrite(data.ptr, 1, data.len, x->out) != data.len) {
        if (x->file != NULL) /* of standard output main.c says it */
            (void)ctl_fail("%s: %s", x->part, strerror(errno));
        x->broken = true;
        return false;
    }
    x->bytes += data.len;
    for (size_t i = 0; i < data.len; i++)
        x->lines += data.ptr[i] == '\n';
    show(x, false);
    return true;
}

static bool on_chunk(void *arg, struct str cursor)
{
    struct export *x = arg;

    if (cursor.len == 0 || cursor.len >= sizeof(x->cursor))
        return true;
    x->safe_bytes = x->bytes;
    memcpy(x->cursor, cursor.ptr, cursor.len);
    x->cursor[cursor.len] = '\0';
    if (clock_mono_ms() - x->saved_ms < SAVE_MS)
        return true;
    x->broken = !save(x);
    return !x->broken;
}

/* The note of an earlier run of the same question; false: there is none that fits. */
static bool read_note(struct export *x)
{
    struct str text, bytes, cursor, question;
    struct buf note;
    bool ok;

    buf_init(&note, RESUME_MAX);
    ok = file_read(x->resume, RESUME_MAX, &note, NULL);
    text = buf_str(&note);
    ok = ok && str_cut(&text, '\n', &bytes) && str_cut(&text, '\n', &cursor) &&
         str_cut(&text, '\n', &question) && str_eq_c(question, x->question) &&
         str_to_u64(bytes, INT64_MAX, &x->safe_bytes) && cursor.len < sizeof(x->cursor);
    if (ok)
        (void)snprintf(x->cursor, sizeof(x->cursor), "%.*s", STR_ARGS(cursor));
    buf_free(&note);
    return ok;
}

/* Opens the part, cut to what is safe. */
static bool open_part(struct export *x)
{
    bool goes_on = read_note(x);
    int fd = open(x->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
    struct stat there;

    if (!goes_on || size < (off_t)x->safe_bytes) {
        x->safe_bytes = 0;
        x->cursor[0] = '\0';
    }
    if (fd >= 0 && (fstat(fd, &there) != 0 || !S_ISREG(there.st_mode) ||
                    there.st_uid != geteuid() || there.st_nlink != 1)) {
        (void)ctl_fail("%s: is not a file of yours alone: remove it", x->part);
        close(fd);
        return false;
    }
    if (fd < 0 || ftruncate(fd, (off_t)x->safe_bytes) != 0 ||
        lseek(fd, (off_t)x->safe_bytes, SEEK_SET) < 0 || (x->out = fdopen(fd, "w+")) == NULL) {
        (void)ctl_fail("%s: %s", x->part, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (x->safe_bytes > 0)
        (void)fprintf(stderr, "goes on behind %" PRIu64 " bytes of %s\n", x->safe_bytes, x->part);
    return true;
}

/* --- the manifest ---------------------------------- */

/* The last line of the part, without its end; where it begins. */
static bool last_line(const struct export *x, char out[LAST_MAX + 1], uint64_t *begins_out)
{
    uint64_t from = x->bytes > LAST_MAX ? x->bytes - LAST_MAX : 0;
    size_t len;

    if (fflush(x->out) != 0 || fseeko(x->out, (off_t)from, SEEK_SET) != 0)
        return false;
    len = fread(out, 1, LAST_MAX, x->out);
    while (len > 0 && (out[len - 1] == '\n' || out[len - 1] == '\r'))
        len--;
    out[len] = '\0';
    for (size_t i = len; i > 0; i--)
        if (out[i - 1] == '\n') {
            *begins_out = from + i;
            memmove(out, out + i, len - i + 1);
            return true;
        }
    *begins_out = 0;
    return from == 0;
}

static bool hash_up_to(const struct export *x, uint64_t end, char out[65])
{
    struct crypto_hash hash;
    uint8_t piece[65536], sum[32];
    size_t got = 1;

    if (fseeko(x->out, 0, SEEK_SET) != 0)
        return false;
    crypto_sha256_init(&hash);
    while (end > 0 && got > 0) {
        got = fread(piece, 1, end < sizeof(piece) ? (size_t)end : sizeof(piece), x->out);
        crypto_sha256_update(&hash, piece, got);
        end -= got;
    }
    crypto_sha256_final(&hash, sum);
    hex_encode(out, sum, sizeof(sum));
    return end == 0;
}

/* {"manifest":…,"sig":…}, also out of the second cell of a row of CSV. */
static json_t *manifest_of(const char *line)
{
    struct buf text;
    json_t *root;

    if (line[0] != '"')
        return json_load_text("manifest", str_c(line), 0, NULL);
    buf_init(&text, LAST_MAX);
    line = strchr(line, ',');
    for (const char *p = line != NULL ? line + 2 : ""; p[0] != '\0'; p++) {
        if (p[0] == '"' && *++p != '"')
            break;
        if (!buf_append_char(&text, p[0]))
            break;
    }
    root = json_load_text("manifest", buf_str(&text), 0, NULL);
    buf_free(&text);
    return root;
}

static bool signature_holds(const json_t *root, const char *vkey, struct fault *f)
{
    const char *sig = json_string_value(json_object_get(root, "sig"));
    uint8_t hash[32], text[LEDGER_SIGN_LEN];
    struct buf manifest, signature;
    struct note_key key;
    bool ok;

    buf_init(&manifest, LAST_MAX);
    buf_init(&signature, 64);
    ok = note_vkey_parse(str_c(vkey), &key, f) &&
         json_canonical(json_object_get(root, "manifest"), &manifest) &&
         b64_decode(str_c(sig), &signature) && signature.len == 64;
    if (ok) {
        crypto_sha256(manifest.data, manifest.len, hash);
        ledger_sign_text(hash, text);
        ok = crypto_ed25519_verify(key.public_key, str_make(text, sizeof(text)), signature.data);
    }
    if (!ok && f->text[0] == '\0')
        fault_set(f, "the manifest is not signed by that key");
    buf_free(&manifest);
    buf_free(&signature);
    return ok;
}

/* The bytes are those that the manifest names; with vkey: and the log's key signed it. */
static int check_manifest(struct export *x, const char *vkey)
{
    char *line = mem_alloc(LAST_MAX + 1);
    uint64_t begins = 0;
    char sum[65] = "";
    bool there = last_line(x, line, &begins);
    json_t *root = there ? manifest_of(line) : NULL;
    const json_t *manifest = json_object_get(root, "manifest");
    const char *want = json_string_value(json_object_get(manifest, "sha256"));
    struct fault f = {{0}};
    int status = CTL_OK;

    if (want == NULL)
        status = ctl_fail("%s: it does not end with a manifest", x->part);
    else if (!hash_up_to(x, begins, sum) || strcmp(sum, want) != 0)
        status = ctl_fail("%s: the bytes are not those that the manifest names", x->part);
    else if (vkey != NULL && !signature_holds(root, vkey, &f))
        status = ctl_fail("%s: %s", x->part, f.text);
    else
        (void)fprintf(stderr, "%s: %" PRId64 " records%s%s\n", x->file,
                      (int64_t)json_integer_value(json_object_get(manifest, "count")),
                      json_object_get(manifest, "partial") != NULL
                          ? ", of those that the journal holds (Redis is away)"
                          : "",
                      vkey != NULL ? ", signed by the log's key" : "");
    json_decref(root);
    free(line);
    return status;
}

/* --- the command ---------------------------------- */

/* It is not whole: why, and what can be done. */
static void say_why(struct export *x, enum ctl_stream_end end, const struct fault *f)
{
    if (end == CTL_STREAM_REFUSED && x->cursor[0] != '\0')
        (void)ctl_fail("%s; what came before is in %s: to begin again, remove %s", f->text, x->part,
                       x->resume);
    else if (x->file != NULL && !x->broken && x->cursor[0] != '\0' && save(x))
        (void)ctl_fail("%s; the same command goes on behind what is in %s", f->text, x->part);
    else if (!x->broken)
        (void)ctl_fail("%s", f->text);
}

/* Until it is whole, or can't go on; true: whole. */
static bool fetch(struct export *x)
{
    static const struct ctl_stream_ops ops = {.on_data = on_data, .on_chunk = on_chunk};
    enum ctl_stream_end end = CTL_STREAM_CUT;
    struct fault f = {{0}};

    for (unsigned tries = 0; end == CTL_STREAM_CUT && tries < TRIES; tries++) {
        uint64_t before = x->safe_bytes;
        struct buf target;

        buf_init(&target, 65536);
        x->bytes = x->safe_bytes;
        if (x->file != NULL &&
            (fflush(x->out) != 0 || ftruncate(fileno(x->out), (off_t)x->bytes) != 0 ||
             fseeko(x->out, (off_t)x->bytes, SEEK_SET) != 0))
            x->broken = true;
        if (!x->broken && buf_append_c(&target, x->question) &&
            (x->cursor[0] == '\0' || ctl_target_add(&target, "cursor", str_c(x->cursor))))
            end = ctl_stream(x->args, buf_cstr(&target), &ops, x, &f);
        buf_free(&target);
        if (x->file == NULL || x->broken)
            break; /* what was printed can't be taken back */
        if (x->safe_bytes > before)
            tries = 0;
    }
    show(x, true);
    if (end == CTL_STREAM_DONE)
        return true;
    say_why(x, end, &f);
    return false;
}

static char *beside(const char *file, const char *ending)
{
    size_t len = strlen(file) + strlen(ending) + 1;
    char *out = mem_alloc(len);

    (void)snprintf(out, len, "%s%s", file, ending);
    return out;
}

static int run(struct export *x, const char *vkey)
{
    int status = CTL_FAILED;
    struct stat there;

    x->begun_ms = x->saved_ms = clock_mono_ms();
    if (x->file == NULL) {
        x->out = stdout;
        return fetch(x) ? CTL_OK : CTL_FAILED;
    }
    x->part = beside(x->file, ".part");
    x->resume = beside(x->file, ".resume");
    if (stat(x->file, &there) == 0 && !S_ISREG(there.st_mode)) {
        status = ctl_fail("%s: no regular file; without --out the export goes to standard output",
                          x->file);
    } else if (open_part(x)) {
        x->at_start = x->safe_bytes;
        status = fetch(x) ? check_manifest(x, vkey) : CTL_FAILED;
        if (x->cursor[0] == '\0' && status != CTL_OK)
            (void)unlink(x->part); /* nothing in it that could be gone on with */
        if (fclose(x->out) != 0 || (status == CTL_OK && rename(x->part, x->file) != 0))
            status = ctl_fail("%s: %s", x->file, strerror(errno));
        if (status == CTL_OK)
            (void)unlink(x->resume);
    }
    free(x->part);
    free(x->resume);
    return status;
}

static const char *const filters[] = {"--from", "--to",  "--act", "--purpose", "--granted",
                                      "--sub",  "--pe",  "--doc", "--lang",    "--jur",
                                      "--host", "--gpc", "--kind"};

/* What makes no sense is said before anything is asked or opened. */
static bool check_question(const char *format, const char *const values[COUNT_OF(filters)])
{
    static const char *const formats[] = {"jsonl", "csv", "dpv"};
    struct query_spec spec = {0};
    struct fault f = {{0}};
    bool known = false;

    for (size_t i = 0; i < COUNT_OF(formats); i++)
        known = known || strcmp(format, formats[i]) == 0;
    if (!known)
        (void)ctl_fail("--format \"%s\": expected jsonl, csv or dpv", format);
    for (size_t i = 0; known && i < COUNT_OF(filters); i++)
        if (values[i] != NULL &&
            !query_spec_set(&spec, str_c(filters[i] + 2), str_c(values[i]), &f)) {
            (void)ctl_fail("--%s", f.text);
            return false;
        }
    if (known && strcmp(format, "dpv") == 0 && spec.kind != RECORD_UNKNOWN &&
        spec.kind != RECORD_EVENT) {
        (void)ctl_fail("--kind: dpv is a form of visitors' events, of nothing else");
        return false;
    }
    if (known && !query_check(&spec, &f)) {
        (void)ctl_fail("%s", f.text);
        return false;
    }
    return known;
}

/* Said before everything was fetched. */
static bool check_vkey(const char *vkey, const char *file)
{
    struct fault f = {{0}};
    struct note_key key;

    if (vkey != NULL && file == NULL)
        (void)ctl_fail("--vkey checks a file: it needs --out FILE");
    else if (vkey != NULL && !note_vkey_parse(str_c(vkey), &key, &f))
        (void)ctl_fail("--vkey: %s", f.text);
    else
        return true;
    return false;
}

int cmd_audit_export(struct ctl_args *args)
{
    struct export x = {.args = args};
    const char *values[COUNT_OF(filters)] = {NULL}, *format = "jsonl", *vkey = NULL;
    struct ctl_option options[COUNT_OF(filters) + 5];
    size_t cnt = COUNT_OF(filters);
    bool disclose = false, partial = false, ok;
    struct buf target;
    int status;

    for (size_t i = 0; i < cnt; i++)
        options[i] = (struct ctl_option){filters[i], &values[i], NULL};
    options[cnt++] = (struct ctl_option){"--format", &format, NULL};
    options[cnt++] = (struct ctl_option){"--out", &x.file, NULL};
    options[cnt++] = (struct ctl_option){"--vkey", &vkey, NULL};
    options[cnt++] = (struct ctl_option){"--disclose", NULL, &disclose};
    options[cnt++] = (struct ctl_option){"--partial", NULL, &partial};
    if (!ctl_options(args, options, cnt) || !check_question(format, values) ||
        !check_vkey(vkey, x.file))
        return CTL_USAGE;
    buf_init(&target, 65536);
    ok = buf_append_c(&target, "/api/v1/export") &&
         ctl_target_add(&target, "format", str_c(format)) &&
         (!disclose || ctl_target_add(&target, "disclose", STR("1"))) &&
         (!partial || ctl_target_add(&target, "partial", STR("1")));
    for (size_t i = 0; ok && i < COUNT_OF(filters); i++)
        ok = values[i] == NULL || ctl_target_add(&target, filters[i] + 2, str_c(values[i]));
    x.question = buf_cstr(&target);
    status = ok && x.question != NULL ? run(&x, vkey) : ctl_fail("the filters are too long");
    buf_free(&target);
    return status;
}
