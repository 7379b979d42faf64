/*
 * h2_session.c - contract in consentd/h2_session.h.
 *
 * nghttp2 calls back in h2_session_push (what came) and in h2_session_pull (what the windows
 * take). Streams live from on_begin_headers to on_stream_close.
 */
#include "consentd/h2_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nghttp2/nghttp2.h>

#include "consentd/buf.h"
#include "consentd/chunked.h"
#include "consentd/headers.h"
#include "consentd/mem.h"
#include "consentd/spare.h"
#include "h1_priv.h"
#include "h2_request_priv.h"

#define FRAME_HEAD_LEN    9
#define STREAM_NUMBER_LEN 4
#define PRIORITY_LEN      5  /* of a well-formed PRIORITY: a stream's number and a weight */
#define CONTINUATIONS_MAX 64 /* nghttp2 1.52 counts the reads of a head, not the heads */
#define SETTINGS_MAX      32 /* entries in one frame */

enum { SEEN_IDS = 1024 }; /* streams whose numbers are remembered, a power of 2 */

const struct str h2_preface = STR_INIT(NGHTTP2_CLIENT_MAGIC);

struct h2_stream {
    struct h2_stream *prev, *next; /* of the session */
    void *user;
    struct h2_head head;
    struct buf out;  /* the answer's body, not yet framed */
    uint64_t taken;  /* bytes of it that were */
    bool out_end;    /* nothing comes behind out */
    bool waiting;    /* nghttp2 found out empty: tell it when there is more */
    bool head_begun; /* of the request: on_request has not come yet */
    bool excused;    /* who reset it has paid, or was us */
    size_t trailers; /* bytes of them: checked, bounded and dropped, as in HTTP/1 */
};

struct h2_session {
    nghttp2_session *ng;
    struct h1_limits limits;
    struct h2_ops ops;
    void *owner;
    struct h2_stream *streams;
    nghttp2_nv *fields; /* owned; scratch for one head */
    size_t fields_cap;
    int64_t budget;
    uint64_t earned; /* bytes of content below the next point */
    uint64_t now_ms;
    bool flooded;
    bool broken; /* what nghttp2 would let pass has ended the connection */
    uint32_t last_id;
    uint8_t begun[SEEN_IDS / 8]; /* of the streams up to last_id: one bit for each */
    struct { /* of the frames as they come: nghttp2 tells nothing of unknown ones */
        uint8_t head[FRAME_HEAD_LEN + STREAM_NUMBER_LEN];
        unsigned head_len; /* bytes of it that are here */
        uint64_t skip;     /* bytes until the next head */
    } walk;
};

static struct h2_stream *stream_of(const struct h2_session *s, int32_t id)
{
    return nghttp2_session_get_stream_user_data(s->ng, id);
}

/* --- the budget -------------------------------------------------------------------- */

static void earn(struct h2_session *s, size_t bytes)
{
    s->earned += bytes;
    s->budget += (int64_t)(s->earned / H2_BUDGET_BYTES);
    s->earned %= H2_BUDGET_BYTES;
    if (s->budget > H2_BUDGET_MAX)
        s->budget = H2_BUDGET_MAX;
}

static void time_passes(struct h2_session *s, uint64_t now_ms)
{
    uint64_t ms = now_ms > s->now_ms ? now_ms - s->now_ms : 0;
    uint64_t points = ms * H2_BUDGET_PER_S / 1000;

    if (points == 0)
        return; /* the rest of the time counts later */
    s->now_ms = now_ms;
    s->budget += points < H2_BUDGET_MAX ? (int64_t)points : H2_BUDGET_MAX;
    if (s->budget > H2_BUDGET_MAX)
        s->budget = H2_BUDGET_MAX;
}

static void spend(struct h2_session *s, unsigned cost)
{
    s->budget -= cost;
    if (s->budget >= 0 || s->flooded)
        return;
    s->flooded = true;
    (void)nghttp2_session_terminate_session(s->ng, NGHTTP2_ENHANCE_YOUR_CALM);
}

/*
 * A frame that says nothing about a request costs; of header blocks nghttp2 has limits. A head
 * earns what it is on the wire: HPACK makes kilobytes of a few bytes.
 */
static void charge_frame(struct h2_session *s, size_t len, uint8_t type, uint8_t flags)
{
    switch (type) {
    case NGHTTP2_DATA:
        if (len == 0 && (flags & NGHTTP2_FLAG_END_STREAM) == 0)
            spend(s, H2_COST_FRAME);
        break;
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
        earn(s, len);
        break;
    case NGHTTP2_RST_STREAM:
        spend(s, H2_COST_RESET);
        break;
    default:
        spend(s, H2_COST_FRAME);
        break;
    }
}

/* --- what nghttp2 lets pass -------------------------------------------------------- */

static uint8_t *begun_bit(struct h2_session *s, uint32_t id, uint8_t *mask_out)
{
    uint32_t at = id / 2 % SEEN_IDS;

    *mask_out = (uint8_t)(1u << at % 8);
    return &s->begun[at / 8];
}

/*
 * RFC 9113 5.1.1: a number that was skipped is closed. nghttp2 cannot tell such a stream from one
 * that was open once, whose late frames are no fault.
 */
static bool is_number_good(struct h2_session *s, uint32_t id)
{
    uint8_t mask;
    uint8_t *bits;

    if (id % 2 == 0)
        return true; /* nghttp2 refuses it */
    if (id < s->last_id) {
        bits = begun_bit(s, id, &mask);
        return s->last_id - id >= 2 * SEEN_IDS || (*bits & mask) != 0;
    }
    if (id - s->last_id >= 2 * SEEN_IDS)
        memset(s->begun, 0, sizeof(s->begun));
    else
        for (uint32_t skipped = s->last_id + 2; skipped < id; skipped += 2) {
            bits = begun_bit(s, skipped, &mask);
            *bits &= (uint8_t)~mask;
        }
    bits = begun_bit(s, id, &mask);
    *bits |= mask;
    s->last_id = id;
    return true;
}

static size_t frame_len(const uint8_t *head)
{
    return (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
}

static uint32_t stream_number(const uint8_t *at)
{
    return (uint32_t)(at[0] & 0x7f) << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static bool has_dependency(const uint8_t *head)
{
    return head[3] == NGHTTP2_PRIORITY && frame_len(head) == PRIORITY_LEN;
}

/* RFC 9113 6.3: of a stream; and of RFC 7540 5.3.1, what still has an error: not on itself. */
static bool is_priority_good(const uint8_t *head, uint32_t id)
{
    return id != 0 && !(has_dependency(head) && stream_number(head + FRAME_HEAD_LEN) == id);
}

static void check_frame(struct h2_session *s, const uint8_t *head)
{
    uint32_t id = stream_number(head + 5);
    bool good = head[3] == NGHTTP2_HEADERS    ? is_number_good(s, id)
                : head[3] == NGHTTP2_PRIORITY ? is_priority_good(head, id)
                                              : true;

    if (good || s->broken)
        return;
    s->broken = true;
    (void)nghttp2_session_terminate_session(s->ng, NGHTTP2_PROTOCOL_ERROR);
}

/* Bytes of a frame that are looked at: its head, of PRIORITY also what it depends on. */
static unsigned look_len(const struct h2_session *s)
{
    if (s->walk.head_len >= FRAME_HEAD_LEN && has_dependency(s->walk.head))
        return FRAME_HEAD_LEN + STREAM_NUMBER_LEN;
    return FRAME_HEAD_LEN;
}

/* Finds the frames' heads (RFC 9113 4.1) in what comes. */
static void walk_frames(struct h2_session *s, struct str in)
{
    while (in.len > 0 && !s->flooded) {
        size_t len;
        uint8_t *head = s->walk.head;

        if (s->walk.skip > 0) {
            len = s->walk.skip < in.len ? (size_t)s->walk.skip : in.len;
            s->walk.skip -= len;
        } else {
            len = look_len(s) - s->walk.head_len;
            len = len < in.len ? len : in.len;
            memcpy(head + s->walk.head_len, in.ptr, len);
            s->walk.head_len += (unsigned)len;
        }
        in = str_slice(in, len, in.len);
        if (s->walk.head_len < look_len(s))
            continue;
        s->walk.skip = frame_len(head) - (s->walk.head_len - FRAME_HEAD_LEN);
        s->walk.head_len = 0;
        charge_frame(s, frame_len(head), head[3], head[4]);
        check_frame(s, head);
    }
}

/* --- what comes -------------------------------------------------------------------- */

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct h2_session *s = arg;
    struct h2_stream *st;

    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    if (s->flooded)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    st = spare_calloc(1, sizeof(*st));
    if (st == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    st->user = s->ops.on_begin(s->owner, frame->hd.stream_id, &st->head.arena, &st->head.req);
    if (st->user == NULL) {
        spare_free(st);
        (void)nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                        NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    st->head_begun = true;
    st->next = s->streams;
    if (st->next != NULL)
        st->next->prev = st;
    s->streams = st;
    buf_init(&st->out, H2_QUEUE_MAX);
    (void)nghttp2_session_set_stream_user_data(ng, frame->hd.stream_id, st);
    return 0;
}

static struct str text_of(nghttp2_rcbuf *shared)
{
    nghttp2_vec vec = nghttp2_rcbuf_get_buf(shared);

    return str_make(vec.base, vec.len);
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *arg)
{
    struct h2_session *s = arg;
    struct h2_stream *st = stream_of(s, frame->hd.stream_id);

    UNUSED(ng);
    UNUSED(flags);
    if (st != NULL && st->head_begun)
        h2_head_field(&st->head, &s->limits, text_of(name), text_of(value));
    else if (st != NULL)
        st->trailers += text_of(name).len + text_of(value).len + H2_FIELD_OVERHEAD;
    return st == NULL || st->trailers <= CHUNKED_TRAILER_MAX
               ? 0
               : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* What nghttp2 would leave out silently: the whole stream is malformed (RFC 9113 8.2.1). */
static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                             nghttp2_rcbuf *value, uint8_t flags, void *arg)
{
    UNUSED(ng);
    UNUSED(frame);
    UNUSED(name);
    UNUSED(value);
    UNUSED(flags);
    UNUSED(arg);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *arg)
{
    struct h2_session *s = arg;
    struct h2_stream *st = stream_of(s, id);

    UNUSED(flags);
    earn(s, len);
    if (st != NULL)
        s->ops.on_body(st->user, data, len);
    else
        (void)nghttp2_session_consume(ng, id, len);
    return 0;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct h2_session *s = arg;
    struct h2_stream *st;
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    UNUSED(ng);
    st = stream_of(s, frame->hd.stream_id);
    if (st != NULL && frame->hd.type == NGHTTP2_RST_STREAM)
        st->excused = true; /* charge_frame() */
    if (st == NULL || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    if (st->head_begun) {
        st->head_begun = false;
        s->ops.on_request(st->user, h2_head_finish(&st->head, end));
    }
    if (end)
        s->ops.on_end(st->user);
    return 0;
}

static void stream_unlink(struct h2_session *s, struct h2_stream *st)
{
    if (st->prev != NULL)
        st->prev->next = st->next;
    else
        s->streams = st->next;
    if (st->next != NULL)
        st->next->prev = st->prev;
}

static void stream_free(struct h2_session *s, struct h2_stream *st)
{
    s->ops.on_closed(st->user);
    buf_free(&st->out);
    spare_free(st);
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
    struct h2_session *s = arg;
    struct h2_stream *st = stream_of(s, id);

    if (st == NULL)
        return 0;
    if (code != NGHTTP2_NO_ERROR && !st->excused)
        spend(s, H2_COST_RESET); /* nghttp2 had to reset it: CVE-2025-8671 */
    (void)nghttp2_session_set_stream_user_data(ng, id, NULL);
    stream_unlink(s, st);
    stream_free(s, st);
    return 0;
}

/* --- what goes --------------------------------------------------------------------- */

static ssize_t read_out(nghttp2_session *ng, int32_t id, uint8_t *to, size_t len, uint32_t *flags,
                        nghttp2_data_source *source, void *arg)
{
    struct h2_session *s = arg;
    struct h2_stream *st = stream_of(s, id);

    UNUSED(ng);
    UNUSED(source);
    if (st == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (st->out.len == 0 && !st->out_end) {
        st->waiting = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (len > st->out.len)
        len = st->out.len;
    if (len > 0)
        memcpy(to, st->out.data, len);
    buf_consume(&st->out, len);
    st->taken += len;
    earn(s, len);
    if (st->out.len == 0 && st->out_end)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)len;
}

/* More to read, or the end. */
static void resume(struct h2_session *s, int32_t id, struct h2_stream *st)
{
    if (!st->waiting)
        return;
    st->waiting = false;
    (void)nghttp2_session_resume_data(s->ng, id);
}

static nghttp2_nv field_of(struct str name, struct str value)
{
    static uint8_t nothing[1];

    return (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name.ptr,
        .namelen = name.len,
        .value = value.len > 0 ? (uint8_t *)(uintptr_t)value.ptr : nothing,
        .valuelen = value.len,
    };
}

/* The fields of a head into s->fields; how many. Both texts must outlive their use. */
static size_t collect(struct h2_session *s, const struct h2_answer *answer, struct str status,
                      struct str length)
{
    const struct headers *h = answer->headers;
    size_t cnt = 0;

    if (s->fields_cap < h->cnt + 2) {
        s->fields_cap = h->cnt + 32;
        s->fields = mem_realloc(s->fields, s->fields_cap * sizeof(*s->fields));
    }
    s->fields[cnt++] = field_of(STR(":status"), status);
    for (unsigned i = 0; i < h->cnt; i++) {
        const struct header *item = &h->items[i];

        if (!item->removed && !h1_is_framing(item->id))
            s->fields[cnt++] = field_of(item->name, item->value);
    }
    if (answer->has_length)
        s->fields[cnt++] = field_of(STR("content-length"), length);
    return cnt;
}

bool h2_session_head(struct h2_session *s, int32_t id, const struct h2_answer *answer)
{
    nghttp2_data_provider body = {.read_callback = read_out};
    struct h2_stream *st = stream_of(s, id);
    char status[16], length[24];
    size_t cnt;

    if (st == NULL || !h1_fields_are_clean(answer->headers))
        return false;
    snprintf(status, sizeof(status), "%03u", answer->status);
    snprintf(length, sizeof(length), "%llu", (unsigned long long)answer->length);
    cnt = collect(s, answer, str_c(status), str_c(length));
    if (answer->status < 200)
        return nghttp2_submit_headers(s->ng, NGHTTP2_FLAG_NONE, id, NULL, s->fields, cnt, NULL) ==
               0;
    return nghttp2_submit_response(s->ng, id, s->fields, cnt, answer->end ? NULL : &body) == 0;
}

bool h2_session_body(struct h2_session *s, int32_t id, const uint8_t *data, size_t len)
{
    struct h2_stream *st = stream_of(s, id);

    if (st == NULL || !buf_append(&st->out, data, len))
        return false;
    resume(s, id, st);
    return true;
}

void h2_session_end(struct h2_session *s, int32_t id)
{
    struct h2_stream *st = stream_of(s, id);

    if (st == NULL)
        return;
    st->out_end = true;
    resume(s, id, st);
}

void h2_session_reset(struct h2_session *s, int32_t id, uint32_t code)
{
    struct h2_stream *st = stream_of(s, id);

    if (st == NULL)
        return;
    st->excused = true;
    (void)nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, id, code);
}

size_t h2_session_queued(const struct h2_session *s, int32_t id)
{
    const struct h2_stream *st = stream_of(s, id);

    return st != NULL ? st->out.len : 0;
}

uint64_t h2_session_taken(const struct h2_session *s, int32_t id)
{
    const struct h2_stream *st = stream_of(s, id);

    return st != NULL ? st->taken : 0;
}

void h2_session_credit(struct h2_session *s, int32_t id, size_t len)
{
    if (len > 0)
        (void)nghttp2_session_consume(s->ng, id, len);
}

void h2_session_drain(struct h2_session *s, bool final)
{
    if (!final)
        (void)nghttp2_submit_shutdown_notice(s->ng);
    else
        (void)nghttp2_submit_goaway(s->ng, NGHTTP2_FLAG_NONE,
                                    nghttp2_session_get_last_proc_stream_id(s->ng),
                                    NGHTTP2_NO_ERROR, NULL, 0);
}

bool h2_session_is_over(const struct h2_session *s)
{
    return nghttp2_session_want_read(s->ng) == 0 && nghttp2_session_want_write(s->ng) == 0;
}

bool h2_session_was_flooded(const struct h2_session *s)
{
    return s->flooded;
}

/* --- the session ------------------------------------------------------------------- */

bool h2_session_push(struct h2_session *s, struct str in, uint64_t now_ms)
{
    ssize_t n;

    time_passes(s, now_ms);
    walk_frames(s, in);
    n = nghttp2_session_mem_recv(s->ng, (const uint8_t *)in.ptr, in.len);
    if (n == NGHTTP2_ERR_FLOODED)
        s->flooded = true;
    return n == (ssize_t)in.len && !s->flooded && !s->broken;
}

struct str h2_session_pull(struct h2_session *s)
{
    const uint8_t *data = NULL;
    ssize_t n = nghttp2_session_mem_send(s->ng, &data);

    return n > 0 ? str_make(data, (size_t)n) : STR("");
}

static void *ng_malloc(size_t len, void *user)
{
    UNUSED(user);
    return spare_alloc(len);
}

static void ng_free(void *p, void *user)
{
    UNUSED(user);
    spare_free(p);
}

static void *ng_calloc(size_t cnt, size_t size, void *user)
{
    UNUSED(user);
    return spare_calloc(cnt, size);
}

static void *ng_realloc(void *p, size_t len, void *user)
{
    UNUSED(user);
    return spare_realloc(p, len);
}

static nghttp2_session *make(struct h2_session *s)
{
    nghttp2_mem memory = {NULL, ng_malloc, ng_free, ng_calloc, ng_realloc};
    nghttp2_session_callbacks *calls;
    nghttp2_option *option;
    nghttp2_session *ng = NULL;

    ASSERT(nghttp2_session_callbacks_new(&calls) == 0 && nghttp2_option_new(&option) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(calls, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(calls, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(calls, on_invalid_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(calls, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(calls, on_stream_close);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_continuations(option, CONTINUATIONS_MAX);
    nghttp2_option_set_max_settings(option, SETTINGS_MAX);
    ASSERT(nghttp2_session_server_new3(&ng, calls, s, option, &memory) == 0);
    nghttp2_session_callbacks_del(calls);
    nghttp2_option_del(option);
    return ng;
}

struct h2_session *h2_session_new(const struct h1_limits *limits, const struct h2_ops *ops,
                                  void *owner)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)limits->head_max},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1}, /* RFC 8441 */
    };
    struct h2_session *s = mem_new(struct h2_session);

    s->limits = *limits;
    s->ops = *ops;
    s->owner = owner;
    s->budget = H2_BUDGET_MAX;
    s->walk.skip = h2_preface.len;
    s->ng = make(s);
    ASSERT(nghttp2_submit_settings(s->ng, NGHTTP2_FLAG_NONE, settings, COUNT_OF(settings)) == 0);
    (void)nghttp2_session_set_local_window_size(s->ng, NGHTTP2_FLAG_NONE, 0, H2_CONN_WINDOW);
    return s;
}

void h2_session_free(struct h2_session *s)
{
    if (s == NULL)
        return;
    for (struct h2_stream *st = s->streams, *next; st != NULL; st = next) {
        next = st->next;
        stream_free(s, st);
    }
    nghttp2_session_del(s->ng);
    free(s->fields);
    free(s);
}
