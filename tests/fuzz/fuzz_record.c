/*
 * fuzz_record.c - J is read strictly: what record_parse takes as an event has one form only.
 * The same bytes are also read as messages of a worker and of the admin.
 */
#include <stdint.h>
#include <string.h>

#include "consentd/ledger_msg.h"
#include "consentd/mem.h"
#include "consentd/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Writes what was read once more: it must come out byte for byte. */
static void write_again(struct str json, const struct record_view *v)
{
    static char names[RECORD_PURPOSES][RECORD_NAME_MAX + 1];
    const char *table[RECORD_PURPOSES] = {NULL};
    struct consent_event ev = v->event;
    unsigned cnt = 0;
    struct buf out;

    if (v->grant_cnt + v->deny_cnt >= RECORD_PURPOSES)
        return;
    for (unsigned i = 0; i < v->grant_cnt + v->deny_cnt; i++) {
        struct str name = i < v->grant_cnt ? v->grants[i] : v->denies[i - v->grant_cnt];

        cnt++;
        memcpy(names[cnt], name.ptr, name.len);
        names[cnt][name.len] = '\0';
        table[cnt] = names[cnt];
        if (i < v->grant_cnt)
            ev.grant |= (uint16_t)(1u << cnt);
        else
            ev.deny |= (uint16_t)(1u << cnt);
    }
    buf_init(&out, 2048);
    ASSERT(record_canonical(&ev, table, &out));
    ASSERT(str_eq(buf_str(&out), json));
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct str in = str_make(data, len);
    struct ledger_event_msg msg;
    struct record_view view;
    struct str json;
    uint64_t id;

    if (record_parse(in, &view) == RECORD_EVENT)
        write_again(in, &view);
    if (ledger_event_decode(in, &msg)) {
        struct buf out;

        buf_init(&out, 2048);
        if (record_canonical(&msg.event, msg.names, &out))
            ASSERT(record_parse(buf_str(&out), &view) == RECORD_EVENT);
        buf_free(&out);
    }
    (void)!ledger_oplog_decode(in, &id, &json);
    return 0;
}
