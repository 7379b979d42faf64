/*
 * export_api.c - GET /api/v1/export: all records that the filters let through, oldest first.
 *
 *   format=jsonl  a JSON line per record (query_text.h); disclose=1 adds r, with which every line
 *                 proves itself
 *   format=csv    RFC 4180
 *   format=dpv    a consent record of ISO/IEC TS 27560 per line (dpv.h). What was in force before
 *                 is not looked up: a purpose that a custom choice takes back is "refused" here,
 *                 and "withdrawn" in the export of its subject
 *
 * One chunk per turn of the store: memory does not grow with the answer, and a reader that is
 * slow slows the reading down. Every chunk has the extension cursor="…": whoever kept all bytes up
 * to the end of a chunk asks with that cursor and gets the rest, as if nothing had happened.
 *
 * The last line is the manifest, signed with the log's key:
 *
 *   {"manifest":{"behind":N,"checkpoint":"…","count":N,"filters":{"act":"withdraw"},
 *                "first":"1:0","format":"jsonl","hw":N,"last":"1:9",
 *                "partial":{"journal":"1:4","ts":MS},"sha256":"…","to":MS,"ts":MS,"v":1},
 *    "sig":"base64"}
 *
 * filters are those of the request; behind is how many records the journal had that Redis had not,
 * newer than hw: they are not in here. Often it is the record of this very export.
 * While Redis is away an export is refused; with partial=1 it is read from the journal, and partial
 * says so, with the first record that the journal has and its time: none older are in here.
 * sha256 is that of all bytes before this line; sig is Ed25519 over LEDGER_SIGN_LABEL, a zero byte
 * and the SHA-256 of the manifest object's text. In CSV it is a row of the same width whose
 * first cell is "#manifest" and whose second is that text. An answer that ends otherwise is cut.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin_priv.h"
#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/crypto.h"
#include "consentd/dpv.h"
#include "consentd/ipc.h"
#include "consentd/journal_read.h"
#include "consentd/json.h"
#include "consentd/ledger_msg.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/note.h"
#include "consentd/query_text.h"
#include "consentd/restarts.h"
#include "consentd/tlog.h"

#define PAGE_ROWS     1000        /* of a turn */
#define PAGE_ROWS_DPV 100         /* their records are an order larger */
#define PAGE_MAX      (10u << 20) /* bytes of a turn's chunk */
#define CURSOR_LABEL  "consentd.export.cursor.v1"
#define MAC_LEN       16
#define PLACE_VERSION 2
#define SIGN_MS       10000 /* the ledger signs within this time */

enum export_format { EXPORT_JSONL = 0, EXPORT_CSV, EXPORT_DPV, EXPORT_FORMATS };

static const char *const format_names[EXPORT_FORMATS] = {"jsonl", "csv", "dpv"};
static const char *const format_types[EXPORT_FORMATS] = {
    "application/x-ndjson", "text/csv; charset=utf-8; header=present", "application/x-ndjson"};

/* What a cursor holds: everything that the rest depends on. Of this machine only: see the MAC. */
struct export_place {
    uint64_t version; /* PLACE_VERSION */
    uint64_t format, disclose;
    uint64_t partial;            /* some of it came from the journal */
    uint64_t count, first, last; /* records so far, and the leaves of two of them */
    uint64_t to_ms;              /* the end of time for this export */
    struct crypto_sha256_part sum;
    char cursor[56]; /* of the store; not ended with NUL. All zero: from the beginning */
};

struct export
{
    struct admin_client *c;
    struct feed feed;
    struct params params;
    struct export_place at;
    struct buf page;
    char origin[NOTE_NAME_MAX + 1];
    bool may_be_partial;
    bool has_hw, full, ready; /* ready: a turn's rows were sent, the next may be asked for */
    uint64_t hw;
    struct buf manifest; /* waits for its signature */
    struct timer deadline;
};

static void drop(struct admin_client *c)
{
    struct export *x = c->state;

    feed_cancel(&x->feed);
    timer_clear(&x->deadline);
    params_free(&x->params);
    buf_free(&x->page);
    buf_free(&x->manifest);
    free(x);
}

/* --- cursors ------------------------------------------------------------------------------ */

#define CURSOR_BYTES (sizeof(struct export_place) + MAC_LEN)
#define CURSOR_CHARS B64_LEN(CURSOR_BYTES)

static void cursor_mac(const struct admin *a, const struct export_place *at, uint8_t out[MAC_LEN])
{
    struct crypto_hmac *h = crypto_hmac_new(store_log(a->store)->idx_key, 32);
    const struct str parts[] = {str_make(CURSOR_LABEL, sizeof(CURSOR_LABEL)),
                                str_make(at, sizeof(*at))};
    uint8_t mac[32];

    crypto_hmac(h, parts, COUNT_OF(parts), mac);
    memcpy(out, mac, MAC_LEN);
    crypto_hmac_free(h);
}

static void cursor_write(const struct export *x, char out[CURSOR_CHARS + 1])
{
    uint8_t bytes[CURSOR_BYTES];

    memcpy(bytes, &x->at, sizeof(x->at));
    cursor_mac(x->c->admin, &x->at, bytes + sizeof(x->at));
    b64url_encode(out, bytes, sizeof(bytes));
}

static bool cursor_read(const struct admin *a, struct str text, struct export_place *out)
{
    uint8_t bytes[CURSOR_BYTES], mac[MAC_LEN];

    if (!b64url_decode(text, bytes, sizeof(bytes)))
        return false;
    memcpy(out, bytes, sizeof(*out));
    cursor_mac(a, out, mac);
    return crypto_equal(mac, bytes + sizeof(*out), MAC_LEN) && out->version == PLACE_VERSION &&
           out->format < EXPORT_FORMATS;
}

/* --- rows ------------------------------------------------------------------------------------- */

static bool put_dpv(struct export *x, const struct query_row *row)
{
    struct dpv_event ev = {.origin = str_c(x->origin), .leaf = row->leaf, .view = &row->view};

    if (row->status != QUERY_ROW_OK)
        return dpv_record_closed(&ev, &x->page) && buf_append_char(&x->page, '\n');
    return dpv_record(&ev, docs_notice(x->c->admin, row->view.event.doc), &x->page) &&
           buf_append_char(&x->page, '\n');
}

static bool put_row(struct export *x, const struct query_row *row)
{
    switch ((enum export_format)x->at.format) {
    case EXPORT_CSV:
        return query_csv_row(row, &x->page);
    case EXPORT_DPV:
        return put_dpv(x, row);
    case EXPORT_JSONL:
    case EXPORT_FORMATS:
        break;
    }
    return query_row_json(row, x->at.disclose != 0, &x->page) && buf_append_char(&x->page, '\n');
}

static bool on_row(void *arg, const struct query_row *row)
{
    struct export *x = arg;
    size_t before = x->page.len;

    if (!put_row(x, row)) {
        x->page.len = before;
        x->full = true;
        return false;
    }
    if (x->at.count++ == 0)
        x->at.first = row->leaf;
    x->at.last = row->leaf;
    return true;
}

/* --- the end ---------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    const struct str *x = a;
    const struct str *y = b;
    int order = memcmp(x->ptr, y->ptr, x->len < y->len ? x->len : y->len);

    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* What was asked for; without it nobody could tell a part from the whole. */
static bool put_filters(struct params *p, struct buf *out)
{
    bool ok = buf_append_c(out, ",\"filters\":{");

    qsort(p->list, p->cnt, sizeof(p->list[0]), by_name); /* each begins with its name */
    for (size_t i = 0; ok && i < p->cnt; i++)
        ok = (i == 0 || buf_append_char(out, ',')) && json_quote(p->list[i].name, out) &&
             buf_append_char(out, ':') && json_quote(p->list[i].value, out);
    return ok && buf_append_char(out, '}');
}

/* Records that the journal has and Redis had not: the export is without them. */
static bool put_behind(const struct export *x, struct buf *out)
{
    const struct store *s = x->c->admin->store;
    struct journal_reader *rd = journal_reader_open(store_journal(s), store_log(s)->node, NULL);
    uint64_t shipped = x->has_hw ? x->hw + 1 : 0, next = shipped;
    struct journal_record rec = {0};
    enum journal_step step = JOURNAL_STEP_END;

    if (rd != NULL && store_link(s) != NULL && journal_reader_seek(rd, UINT64_MAX, NULL))
        do
            step = journal_reader_prev(rd, &rec);
        while (step == JOURNAL_STEP_GAP ||
               (step == JOURNAL_STEP_RECORD && !journal_type_has_leaf(rec.type)));
    if (step == JOURNAL_STEP_RECORD)
        next = rec.leaf + 1;
    journal_reader_close(rd);
    return buf_printf(out, "{\"behind\":%" PRIu64 ",", next > shipped ? next - shipped : 0);
}

/* The oldest record of the journal; none: it is empty, and so is the export. */
static bool put_partial(const struct export *x, struct buf *out)
{
    struct store *s = x->c->admin->store;
    struct journal_reader *rd;
    struct journal_record rec;
    enum journal_step step = JOURNAL_STEP_END;

    if (x->at.partial == 0)
        return true;
    rd = journal_reader_open(store_journal(s), store_log(s)->node, NULL);
    if (rd != NULL && journal_reader_seek(rd, 0, NULL))
        do
            step = journal_reader_next(rd, UINT64_MAX, &rec);
        while (step == JOURNAL_STEP_GAP);
    journal_reader_close(rd);
    if (step != JOURNAL_STEP_RECORD)
        return buf_append_c(out, ",\"partial\":{}");
    return buf_printf(out, ",\"partial\":{\"journal\":\"%u:%" PRIu64 "\",\"ts\":%" PRIu64 "}",
                      restarts_node_of(store_restarts(s), rec.leaf), rec.leaf, rec.ts_ms);
}

static bool put_manifest(struct export *x)
{
    const struct admin *a = x->c->admin;
    struct buf *out = &x->manifest;
    const struct log_restarts *restarts = store_restarts(a->store);
    struct note_key keys[ADMIN_LOG_KEYS];
    unsigned key_cnt = admin_log_keys(a, keys);
    struct merkle_tree tree;
    struct buf checkpoint;
    uint8_t hash[32];
    char sum[65];
    bool ok;

    crypto_sha256_part_final(&x->at.sum, hash);
    hex_encode(sum, hash, sizeof(hash));
    buf_init(&checkpoint, NOTE_CHECKPOINT_MAX);
    if (!tlog_checkpoint(a->log_path, keys, key_cnt, &checkpoint, &tree, NULL))
        buf_clear(&checkpoint); /* nothing was signed yet */
    ok = put_behind(x, out) && buf_append_c(out, "\"checkpoint\":") &&
         json_quote(buf_str(&checkpoint), out) &&
         buf_printf(out, ",\"count\":%" PRIu64, x->at.count) && put_filters(&x->params, out) &&
         (x->at.count == 0 || buf_printf(out, ",\"first\":\"%u:%" PRIu64 "\"",
                                         restarts_node_of(restarts, x->at.first), x->at.first)) &&
         buf_printf(out, ",\"format\":\"%s\"", format_names[x->at.format]) &&
         (!x->has_hw || buf_printf(out, ",\"hw\":%" PRIu64, x->hw)) &&
         (x->at.count == 0 || buf_printf(out, ",\"last\":\"%u:%" PRIu64 "\"",
                                         restarts_node_of(restarts, x->at.last), x->at.last)) &&
         put_partial(x, out) &&
         buf_printf(out, ",\"sha256\":\"%s\",\"to\":%" PRIu64 ",\"ts\":%" PRIu64 ",\"v\":1}", sum,
                    x->at.to_ms, clock_wall_ms());
    buf_free(&checkpoint);
    return ok;
}

/* The ledger does not answer: without its manifest an export is cut, and can be gone on with. */
static void on_deadline(void *arg)
{
    const struct export *x = arg;

    log_warn("export.cut", "reason=\"the ledger does not sign\"");
    admin_stream_cut(x->c);
}

static void ask_signature(struct export *x)
{
    struct admin *a = x->c->admin;
    struct ledger_sign_msg msg = {.req_id = ++a->next_request};

    if (put_manifest(x)) {
        crypto_sha256(x->manifest.data, x->manifest.len, msg.hash);
        x->c->sign_id = msg.req_id;
        timer_set(&x->deadline, SIGN_MS);
        if (a->ledger != NULL && ipc_send(a->ledger, IPC_SIGN, &msg, sizeof(msg), -1))
            return;
    }
    log_warn("export.cut", "reason=\"the manifest could not be signed\"");
    admin_stream_cut(x->c);
}

static bool put_last_line(const struct export *x, const char *sig, struct buf *out)
{
    struct buf line;
    bool ok;

    buf_init(&line, 64u * 1024);
    ok = buf_append_c(&line, "{\"manifest\":") && buf_append_str(&line, buf_str(&x->manifest)) &&
         buf_printf(&line, ",\"sig\":\"%s\"}", sig);
    if (x->at.format != EXPORT_CSV)
        ok = ok && buf_append_str(out, buf_str(&line)) && buf_append_char(out, '\n');
    else
        ok = ok && query_csv_cell(STR("#manifest"), false, out) &&
             query_csv_cell(buf_str(&line), false, out);
    for (unsigned i = 2; ok && x->at.format == EXPORT_CSV && i < QUERY_CSV_COLUMNS; i++)
        ok = query_csv_cell(str_c(""), i + 1 == QUERY_CSV_COLUMNS, out);
    buf_free(&line);
    return ok;
}

static void finish(struct export *x, const struct ledger_sign_ack *ack)
{
    struct admin_client *c = x->c;
    char sig[B64_PADDED_LEN(64) + 1] = "";

    c->sign_id = 0;
    timer_clear(&x->deadline);
    if (ack->done != 0)
        b64_encode(sig, ack->signature, sizeof(ack->signature));
    buf_clear(&x->page);
    if (!put_last_line(x, sig, &x->page))
        admin_stream_cut(c);
    else if (admin_stream_write(c, "", buf_str(&x->page)))
        admin_stream_end(c);
}

void export_api_signed(struct admin *a, const void *data, size_t len)
{
    struct ledger_sign_ack ack;

    if (len != sizeof(ack))
        return;
    memcpy(&ack, data, sizeof(ack));
    for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++)
        if (a->clients[i].admin != NULL && a->clients[i].sign_id != 0 &&
            a->clients[i].sign_id == ack.req_id)
            finish(a->clients[i].state, &ack);
}

void export_api_lost(struct admin *a)
{
    for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++)
        if (a->clients[i].admin != NULL && a->clients[i].sign_id != 0) {
            log_warn("export.cut", "reason=\"the ledger went away\"");
            admin_stream_cut(&a->clients[i]);
        }
}

/* --- turns ------------------------------------------------------------------------------------ */

static void go_on(struct export *x)
{
    x->ready = false;
    feed_ask(x->c->admin->store, &x->feed);
}

static void resume(struct admin_client *c)
{
    struct export *x = c->state;

    if (x->ready)
        go_on(x);
}

static const struct admin_job job = {.drop = drop, .resume = resume};

static void fail(struct export *x, const char *why)
{
    if (!x->c->streaming) {
        admin_answer_error(x->c, 503, "%s", why);
        return;
    }
    log_warn("export.cut", "reason=\"%s\"", why);
    admin_stream_cut(x->c);
}

/* The chunk of a turn, and from where the rest can be had. False: the client is gone. */
static bool send_page(struct export *x)
{
    char extension[CURSOR_CHARS + 16];

    if (!x->c->streaming &&
        !admin_stream_begin(x->c, format_types[x->at.format],
                            "Content-Disposition: attachment; filename=\"consent\"\r\n"))
        return false;
    crypto_sha256_part_update(&x->at.sum, x->page.data, x->page.len);
    memcpy(extension, "cursor=\"", 8);
    cursor_write(x, extension + 8);
    memcpy(extension + 8 + CURSOR_CHARS, "\"", 2);
    return admin_stream_write(x->c, extension, buf_str(&x->page));
}

static void on_turn(void *arg, const struct feed_end *end)
{
    struct export *x = arg;

    if (end->has_hw && (!x->has_hw || end->hw > x->hw)) {
        x->has_hw = true;
        x->hw = end->hw;
    }
    if (!end->ok || (end->partial && !x->may_be_partial) || x->full) {
        fail(x, !end->ok  ? end->fault.text
                : x->full ? "a record is larger than any may be"
                          : "Redis is away: an export from the journal alone would not be whole "
                            "(partial=1, --partial: what it has)");
        return;
    }
    x->at.partial = x->at.partial != 0 || end->partial;
    if (end->cursor[0] != '\0')
        memcpy(x->at.cursor, end->cursor, sizeof(x->at.cursor));
    if (!send_page(x))
        return;
    buf_clear(&x->page);
    x->ready = end->more;
    if (!end->more)
        ask_signature(x);
    else if (!admin_is_choked(x->c))
        go_on(x);
}

/* --- the question --------------------------------------------------------------------------- */

/* A cursor that goes on, or the beginning; false after the client was answered. */
static bool take_place(struct export *x, struct str cursor, struct str format, bool disclose)
{
    struct admin *a = x->c->admin;

    if (cursor.ptr != NULL) {
        if (cursor_read(a, cursor, &x->at) &&
            (format.ptr == NULL || str_eq_c(format, format_names[x->at.format])))
            return true;
        admin_answer_error(x->c, 400,
                           "the cursor is none of this export's: begin again without it");
        return false;
    }
    x->at.version = PLACE_VERSION;
    x->at.to_ms = x->feed.spec.to_ms != 0 ? x->feed.spec.to_ms : clock_wall_ms();
    x->at.disclose = disclose;
    crypto_sha256_part_init(&x->at.sum);
    for (size_t i = 0; i < EXPORT_FORMATS; i++)
        if (format.ptr == NULL || str_eq_c(format, format_names[i])) {
            x->at.format = i;
            return true;
        }
    admin_answer_error(x->c, 400, "format \"%.*s\": expected jsonl, csv or dpv",
                       format.len < 40 ? (int)format.len : 40, format.ptr);
    return false;
}

/* What only makes no sense here. */
static bool fits_export(const struct query_spec *spec, struct str format, struct fault *f)
{
    bool others = spec->kind != RECORD_UNKNOWN && spec->kind != RECORD_EVENT;

    if (spec->to_ms == 0 && spec->from_ms > clock_wall_ms())
        fault_set(f, "from: that time is still to come");
    else if (others && str_eq_c(format, format_names[EXPORT_DPV]))
        fault_set(f, "kind: dpv is a form of visitors' events, of nothing else");
    else
        return true;
    return false;
}

static bool take_question(struct export *x)
{
    const struct query_log *log = store_log(x->c->admin->store);
    struct query_spec *spec = &x->feed.spec;
    struct str format = params_take(&x->params, "format");
    struct str cursor = params_take(&x->params, "cursor");
    struct fault f = {{0}};
    bool disclose = false;
    bool ok = params_flag(&x->params, "disclose", &disclose, &f) &&
              params_flag(&x->params, "partial", &x->may_be_partial, &f);

    for (size_t i = 0; ok && i < x->params.cnt; i++) {
        struct str name = x->params.list[i].name;

        if (str_eq_c(name, "order") || str_eq_c(name, "limit")) {
            fault_set(&f, "an export is whole and begins with the oldest: no order, no limit");
            ok = false;
        } else {
            ok = query_spec_set(spec, name, x->params.list[i].value, &f);
        }
    }
    if (!ok || !fits_export(spec, format, &f) || !query_check(spec, &f)) {
        admin_answer_error(x->c, 400, "%s", f.text);
        return false;
    }
    if (!take_place(x, cursor, format, disclose))
        return false;
    spec->kind =
        spec->kind == RECORD_UNKNOWN || x->at.format == EXPORT_DPV ? RECORD_EVENT : spec->kind;
    spec->oldest_first = true;
    spec->limit = x->at.format == EXPORT_DPV ? PAGE_ROWS_DPV : PAGE_ROWS;
    spec->to_ms = x->at.to_ms;
    spec->cursor = str_make(x->at.cursor, x->at.cursor[0] != '\0' ? sizeof(x->at.cursor) : 0);
    if (query_check(spec, &f) && query_check_cursor(spec, log->node, &f))
        return true;
    admin_answer_error(x->c, 400, "%s", f.text);
    return false;
}

void export_api(struct admin_client *c)
{
    const struct query_log *log = store_log(c->admin->store);
    struct params params;
    struct export *x;

    if (!admin_params(c, &params))
        return;
    x = mem_new(struct export);
    x->c = c;
    x->params = params;
    timer_init(&x->deadline, c->admin->loop, on_deadline, x);
    x->feed.arg = x;
    x->feed.on_row = on_row;
    x->feed.on_end = on_turn;
    buf_init(&x->page, PAGE_MAX);
    buf_init(&x->manifest, 32u * 1024);
    (void)snprintf(x->origin, sizeof(x->origin), "%.240s/consent/%u", log->site,
                   restarts_node(store_restarts(c->admin->store)));
    admin_job_begin(c, &job, x);
    if (!take_question(x))
        return;
    if (x->at.format == EXPORT_CSV && x->at.count == 0 && x->at.cursor[0] == '\0' &&
        !query_csv_head(&x->page))
        fail(x, "no memory");
    else
        go_on(x);
}
