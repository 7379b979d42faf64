/*
 * scan_cdp.c - the DevTools protocol: JSON texts, each ended by a NUL, over two pipes.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/clock.h"
#include "consentd/file.h"
#include "consentd/mem.h"
#include "scan_priv.h"

#define MESSAGE_MAX (64u << 20) /* a screenshot is a few MiB */
#define READ_LEN    65536

struct cdp {
    int to, from;
    int64_t last_id;
    int64_t waiting; /* id of the answer that cdp_call waits for, 0: none */
    json_t *answer;  /* owned; it, once it is here */
    bool gone;
    struct buf in;
    cdp_event_fn on_event;
    void *owner;
};

struct cdp *cdp_new(int to, int from)
{
    struct cdp *cdp = mem_new(struct cdp);

    cdp->to = to;
    cdp->from = from;
    buf_init(&cdp->in, MESSAGE_MAX);
    return cdp;
}

void cdp_free(struct cdp *cdp)
{
    if (cdp == NULL)
        return;
    json_decref(cdp->answer);
    buf_free(&cdp->in);
    free(cdp);
}

void cdp_listen(struct cdp *cdp, cdp_event_fn fn, void *owner)
{
    cdp->on_event = fn;
    cdp->owner = owner;
}

/* The id of the command; 0: it could not be sent. */
static int64_t send_command(struct cdp *cdp, const char *session, const char *method,
                            json_t *params)
{
    json_t *message = json_pack("{s:I,s:s}", "id", (json_int_t)cdp->last_id + 1, "method", method);
    char *text;

    if (params != NULL)
        json_object_set_new(message, "params", params);
    if (session[0] != '\0')
        json_object_set_new(message, "sessionId", json_string(session));
    text = json_dumps(message, JSON_COMPACT);
    json_decref(message);
    if (text == NULL || cdp->gone || !file_write_all(cdp->to, text, strlen(text) + 1)) {
        cdp->gone = true;
        free(text);
        return 0;
    }
    free(text);
    return ++cdp->last_id;
}

void cdp_send(struct cdp *cdp, const char *session, const char *method, json_t *params)
{
    (void)send_command(cdp, session, method, params);
}

static void on_message(struct cdp *cdp, const char *text)
{
    json_t *message = json_loads(text, 0, NULL);
    const char *method = scan_text(message, "method");

    if (method[0] != '\0') {
        if (cdp->on_event != NULL)
            cdp->on_event(cdp->owner, scan_text(message, "sessionId"), method,
                          json_object_get(message, "params"));
    } else if (cdp->waiting != 0 && scan_number(message, "id") == cdp->waiting) {
        cdp->answer = json_incref(message);
        cdp->waiting = 0;
    }
    json_decref(message);
}

/* All messages that are here completely. */
static void read_messages(struct cdp *cdp)
{
    uint8_t *end;

    while (cdp->in.len > 0 && (end = memchr(cdp->in.data, '\0', cdp->in.len)) != NULL) {
        size_t len = (size_t)(end - cdp->in.data) + 1;
        char *text = mem_dup(cdp->in.data, len); /* what it leads to may read more */

        buf_consume(&cdp->in, len);
        on_message(cdp, text);
        free(text);
    }
}

/* Waits for bytes until the deadline, and handles what comes. */
static void pump(struct cdp *cdp, uint64_t deadline_ms)
{
    struct pollfd fd = {.fd = cdp->from, .events = POLLIN};
    uint64_t now = clock_mono_ms();
    uint8_t *room;
    ssize_t n;

    if (poll(&fd, 1, now < deadline_ms ? (int)(deadline_ms - now) : 0) <= 0) {
        cdp->gone = cdp->gone || chromium_is_stopped();
        return;
    }
    room = buf_reserve(&cdp->in, READ_LEN);
    n = room == NULL ? 0 : read(cdp->from, room, READ_LEN);
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0) {
        cdp->gone = true;
        return;
    }
    buf_commit(&cdp->in, (size_t)n);
    read_messages(cdp);
}

bool cdp_wait(struct cdp *cdp, unsigned ms)
{
    uint64_t deadline = clock_mono_ms() + ms;

    while (!cdp->gone && clock_mono_ms() < deadline)
        pump(cdp, deadline);
    return !cdp->gone;
}

json_t *cdp_call(struct cdp *cdp, const char *session, const char *method, json_t *params,
                 struct fault *f)
{
    uint64_t deadline = clock_mono_ms() + SCAN_CALL_MS;
    json_t *answer, *result;

    cdp->waiting = send_command(cdp, session, method, params);
    while (cdp->waiting != 0 && !cdp->gone && clock_mono_ms() < deadline)
        pump(cdp, deadline);
    answer = cdp->answer;
    cdp->answer = NULL;
    cdp->waiting = 0;
    if (answer == NULL) {
        fault_set(f, "%s: %s", method,
                  cdp->gone ? "Chromium ended unexpectedly" : "Chromium did not answer in time");
        return NULL;
    }
    result = json_incref(json_object_get(answer, "result"));
    if (result == NULL)
        fault_set(f, "%s: %s", method, scan_text(json_object_get(answer, "error"), "message"));
    json_decref(answer);
    return result;
}

const char *scan_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

int64_t scan_number(const json_t *object, const char *key)
{
    return (int64_t)json_number_value(json_object_get(object, key));
}
