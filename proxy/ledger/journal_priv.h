/*
 * journal_priv.h - the bytes of segments and batches, shared by writer, recovery and reader.
 *
 *   segment header, 64 bytes                        batch header, 32 bytes
 *    0  8  "CNSNTWAL"                                0  4  "CBT1"
 *    8  2  format = 1                                4  4  body length without padding
 *   10  1  node        11  1  flags = 0              8  4  CRC32C(salt || bytes 12..32 || body)
 *   12  4  0           16  8  segment number        12  4  record count
 *   24  8  first leaf  32  8  created, ms           16  8  first leaf
 *   40  8  salt        48  4  chain of the one      24  8  commit time, ms
 *   52  8  0                  before                32     records, zeros to a multiple of 8
 *   60  4  CRC32C of bytes 0..60
 *
 * The chain of a segment is the CRC32C over its header's CRC and the 32-byte headers of
 * the batches that count: those below the next segment's first leaf.
 */
#ifndef LEDGER_JOURNAL_PRIV_H
#define LEDGER_JOURNAL_PRIV_H

#include "consentd/journal.h"

#define SEGMENT_HEAD 64u
#define BATCH_HEAD   32u
#define BATCH_MAX    (BATCH_HEAD + JOURNAL_BATCH_BYTES + 8u)
#define SEGMENT_MAX  (UINT64_C(1) << 30) /* bytes of a segment: offsets fit 32 bits */
#define SEGMENTS_MAX 1000000u
#define WINDOW_BYTES (1u << 20)
#define PATH_ROOM    1024
#define MONTH_SLACK  60000 /* ms a rewritten batch may be older than its segment's header */

struct segment {
    uint64_t segno, first_leaf, created_ms;
    uint8_t salt[8];
    uint32_t prev_chain;
    uint32_t head_crc;
    uint8_t node;
};

/* A directory's segments with a readable header, by number. */
struct segment_list {
    struct segment *items; /* owned */
    unsigned cnt, cap;
    unsigned broken;       /* files whose header can't be read */
    uint64_t broken_segno; /* the highest of them */
};

struct batch {
    uint64_t first_leaf, commit_ms;
    uint32_t count, body_len;
    size_t size;         /* bytes on disk with header and padding */
    const uint8_t *head; /* in the window */
};

enum batch_found { BATCH_BAD = 0, BATCH_NONE /* zeros: nothing was written here */, BATCH_OK };

/* A piece of a file in memory. */
struct window {
    int fd; /* borrowed */
    uint64_t base;
    size_t len;
    size_t kept;   /* bytes of data that hold something of this file or an earlier one */
    uint8_t *data; /* owned; WINDOW_BYTES */
};

void segment_path(char out[PATH_ROOM], const char *dir, uint8_t node, uint64_t segno);
void segment_head_put(struct segment *seg, uint8_t out[SEGMENT_HEAD]); /* sets head_crc */
bool segment_head_get(const uint8_t in[SEGMENT_HEAD], struct segment *out);

/*
 * Reads the directory; list must be zeroed or in use. False and *f: a file in it can't be read, and
 * the list is as it was.
 */
bool segment_list_read(struct segment_list *list, const char *dir, uint8_t node, struct fault *f);
void segment_list_free(struct segment_list *list);

void window_init(struct window *w, int fd);
void window_free(struct window *w);
void window_wipe(struct window *w);   /* as forget, and clears it */
void window_forget(struct window *w); /* the file may have grown */
const uint8_t *window_at(struct window *w, uint64_t off, size_t need); /* NULL: not in the file */

/* The batch at off; pointers are valid until the window moves. */
enum batch_found batch_at(struct window *w, const struct segment *seg, uint64_t off,
                          struct batch *out);

/* The first valid batch behind off whose first leaf is above `leaf`; false: none. */
bool batch_search(struct window *w, const struct segment *seg, uint64_t off, uint64_t leaf,
                  uint64_t *off_out);

/* Record at body offset `at`; *next_out behind it. False: the batch lies about itself. */
bool batch_record(const struct batch *b, size_t at, struct journal_record *out, size_t *next_out);

/* Writes the header of a batch over its body (at buf + BATCH_HEAD); returns the bytes to write. */
size_t batch_finish(uint8_t *buf, const struct segment *seg, const struct batch *b);

/* Appends a record to a body; returns its bytes. */
size_t record_put(uint8_t *out, const struct journal_record *rec);

/* The leaf behind the batch's last record. */
uint64_t batch_end_leaf(const struct batch *b);

/* journal_shred of all segments of the list but the last. */
bool segments_shred(const struct segment_list *list, const char *dir, const uint64_t *leaves,
                    size_t cnt, struct fault *f);
void segments_shred_undone(const char *dir); /* removes the copy that a crash left */

/* What recovery learned about the newest segment. */
struct tail {
    enum journal_tail kind;
    uint64_t end;       /* offset behind the last good batch (before any hole) */
    uint64_t next_leaf; /* behind the last good batch anywhere */
    uint64_t last_ts;   /* 0: no record in it */
    uint64_t gap_from, gap_to;
    uint32_t chain;
};

uint32_t segment_chain_start(const struct segment *seg);
bool journal_scan_tail(const char *dir, const struct segment *seg, struct tail *out,
                       struct fault *f);

#endif
