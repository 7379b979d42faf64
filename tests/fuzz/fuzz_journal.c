/*
 * fuzz_journal.c - a segment of any bytes: recovery and both directions of the reader
 * come to an end, stay inside the file, and agree on the number of records.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../proxy/ledger/journal_priv.h"
#include "consentd/crypto.h"
#include "consentd/journal_read.h"
#include "consentd/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Checksums that hold, so that the fuzzer gets behind them. */
static void write_segment(const char *path, const uint8_t *data, size_t len)
{
    struct segment seg = {.node = 1};
    uint8_t head[SEGMENT_HEAD];
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    static uint8_t batch[BATCH_MAX];

    ASSERT(fd >= 0);
    segment_head_put(&seg, head);
    ASSERT(write(fd, head, sizeof(head)) == sizeof(head));
    while (len > 4) {
        struct batch b = {.count = data[0], .first_leaf = data[1]};
        size_t size = data[2] * 8u;

        if (size > len - 4)
            size = len - 4;
        memcpy(batch + BATCH_HEAD, data + 4, size);
        b.body_len = (uint32_t)size;
        size = batch_finish(batch, &seg, &b);
        batch[9] ^= data[3] == 255 ? 1 : 0; /* now and then a wrong one */
        ASSERT(write(fd, batch, size) == (ssize_t)size);
        data += 4 + b.body_len;
        len -= 4 + b.body_len;
    }
    ASSERT(write(fd, data, len) == (ssize_t)len);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static char dir[64];
    char path[PATH_ROOM];
    struct segment_list list = {0};
    struct journal_record rec;
    struct journal_reader *rd;
    enum journal_step step;
    struct tail t;
    unsigned steps = 0;

    if (dir[0] == '\0') {
        (void)snprintf(dir, sizeof(dir), "/tmp/fuzz-journal-XXXXXX");
        ASSERT(mkdtemp(dir) != NULL);
    }
    segment_path(path, dir, 1, 0);
    write_segment(path, data, len);
    ASSERT(segment_list_read(&list, dir, 1, NULL) && list.cnt == 1);
    ASSERT(journal_scan_tail(dir, &list.items[0], &t, NULL));
    rd = journal_reader_open(dir, 1, NULL);
    ASSERT(rd != NULL);
    while ((step = journal_reader_next(rd, UINT64_MAX, &rec)) != JOURNAL_STEP_END)
        ASSERT(step != JOURNAL_STEP_ERROR && ++steps < 1000000);
    ASSERT(journal_reader_seek(rd, UINT64_MAX, NULL));
    while ((step = journal_reader_prev(rd, &rec)) != JOURNAL_STEP_END)
        ASSERT(step != JOURNAL_STEP_ERROR && ++steps < 1000000);
    journal_reader_close(rd);
    segment_list_free(&list);
    return 0;
}
