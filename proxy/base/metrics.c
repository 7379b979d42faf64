/*
 * metrics.c - contract in consentd/metrics.h.
 *
 * Each slot starts at a page's worth of its own cache lines. Only the owner stores
 * to it; a reader may see a value that is one update old, never a torn one (aligned
 * 64-bit atomics, relaxed).
 */
#include "consentd/metrics.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "consentd/str.h"

#define NS_PER_S     1000000000u
#define OWNER_FIELDS (sizeof(struct metrics_owner) / sizeof(uint64_t))

struct slot {
    _Alignas(128) _Atomic uint64_t values[METRIC_CNT];
    _Atomic uint64_t owner[OWNER_FIELDS]; /* struct metrics_owner; written by the master alone */
};

static struct slot own_slot; /* before attaching, and in tools and tests */

static struct {
    struct slot *slots; /* the mapping, or own_slot */
    unsigned cnt;
    struct slot *mine;
} shared = {.slots = &own_slot, .cnt = 1, .mine = &own_slot};

static const struct {
    const char *name;
    const char *help;
} TABLE[METRIC_CNT] = {
#define METRIC_ROW(id, name, help) [METRIC_##id] = {name, help},
    METRICS(METRIC_ROW)
#undef METRIC_ROW
};

static bool is_gauge(unsigned id)
{
    return strstr(TABLE[id].name, "_total") == NULL;
}

uint64_t metrics_layout(void)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325) ^ sizeof(struct slot); /* FNV-1a */

    for (unsigned i = 0; i < METRIC_CNT; i++) {
        for (const char *p = TABLE[i].name; *p != '\0'; p++)
            sum = (sum ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
        sum = (sum ^ '\n') * UINT64_C(0x100000001b3);
    }
    return sum;
}

/* Counted in nanoseconds, told in seconds. */
static bool is_time(unsigned id)
{
    return strstr(TABLE[id].name, "_seconds_total") != NULL;
}

/* What there is once, whoever says it: during a reload two processes do. */
static bool is_level(enum metric id)
{
    return id == METRIC_RULES_REVISION || id == METRIC_LEDGER_SIZE || id == METRIC_LOG_SIGNED ||
           id == METRIC_LOG_REFUSED || id == METRIC_LOG_RESTARTS || id == METRIC_REDIS_UP ||
           id == METRIC_REDIS_LAG || id == METRIC_GENERATION;
}

void metrics_restore(const char *name, double value)
{
    for (unsigned i = 0; i < METRIC_CNT; i++) {
        if (!is_gauge(i) && strcmp(TABLE[i].name, name) == 0)
            metric_add((enum metric)i, (uint64_t)(is_time(i) ? value * NS_PER_S : value));
    }
}

int metrics_create(unsigned slots)
{
    int fd = memfd_create("consentd-metrics", MFD_CLOEXEC);

    if (fd >= 0 && ftruncate(fd, (off_t)(sizeof(struct slot) * slots)) != 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

static void clear_gauges(struct slot *slot)
{
    for (unsigned i = 0; i < METRIC_CNT; i++) {
        if (is_gauge(i))
            atomic_store_explicit(&slot->values[i], 0, memory_order_relaxed);
    }
}

bool metrics_attach(int fd, unsigned slot, unsigned slots)
{
    if (slot >= slots)
        return false;
    void *map = mmap(NULL, sizeof(struct slot) * slots, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return false;
    shared.slots = map;
    shared.cnt = slots;
    shared.mine = &shared.slots[slot];
    clear_gauges(shared.mine);
    return true;
}

void metric_add(enum metric id, uint64_t n)
{
    _Atomic uint64_t *value = &shared.mine->values[id];

    /* the only writer: a load and a store are enough, and need no locked instruction */
    atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

void metric_set(enum metric id, uint64_t value)
{
    atomic_store_explicit(&shared.mine->values[id], value, memory_order_relaxed);
}

void metric_up(enum metric id)
{
    metric_add(id, 1);
}

void metric_down(enum metric id)
{
    metric_add(id, UINT64_MAX); /* minus one, modulo 2^64 */
}

uint64_t metric_sum(enum metric id)
{
    uint64_t sum = 0, most = 0;

    for (unsigned i = 0; i < shared.cnt; i++) {
        uint64_t value = atomic_load_explicit(&shared.slots[i].values[id], memory_order_relaxed);
        sum += value;
        most = value > most ? value : most;
    }
    return is_level(id) ? most : sum;
}

uint64_t metric_of(unsigned slot, enum metric id)
{
    if (slot >= shared.cnt)
        return 0;
    return atomic_load_explicit(&shared.slots[slot].values[id], memory_order_relaxed);
}

unsigned metrics_slot(void)
{
    return shared.slots != NULL ? (unsigned)(shared.mine - shared.slots) : 0;
}

unsigned metrics_slots(void)
{
    return shared.cnt;
}

void metrics_own(unsigned slot, const struct metrics_owner *owner)
{
    uint64_t fields[OWNER_FIELDS];

    if (slot >= shared.cnt)
        return;
    memcpy(fields, owner, sizeof(fields));
    for (size_t i = OWNER_FIELDS; i-- > 0;) /* the pid last: whoever sees it sees the rest */
        atomic_store_explicit(&shared.slots[slot].owner[i], fields[i], memory_order_release);
}

bool metrics_owner(unsigned slot, struct metrics_owner *out)
{
    uint64_t fields[OWNER_FIELDS];

    if (slot >= shared.cnt)
        return false;
    for (size_t i = 0; i < OWNER_FIELDS; i++)
        fields[i] = atomic_load_explicit(&shared.slots[slot].owner[i], memory_order_acquire);
    memcpy(out, fields, sizeof(*out));
    return out->pid != 0;
}

void metrics_release(unsigned slot)
{
    static const struct metrics_owner nobody;

    if (slot >= shared.cnt)
        return;
    metrics_own(slot, &nobody);
    clear_gauges(&shared.slots[slot]);
}

static bool print_value(unsigned id, struct buf *out)
{
    unsigned long long value = metric_sum((enum metric)id);

    if (is_time(id))
        return buf_printf(out, "%llu.%09llu", value / NS_PER_S, value % NS_PER_S);
    return buf_printf(out, "%llu", value);
}

bool metrics_json(struct buf *out)
{
    bool ok = buf_append_char(out, '{');

    for (unsigned i = 0; i < METRIC_CNT && ok; i++)
        ok = buf_printf(out, "%s\"%s\":", i > 0 ? "," : "", TABLE[i].name) && print_value(i, out);
    return ok && buf_append_char(out, '}');
}

bool metrics_print(struct buf *out)
{
    for (unsigned i = 0; i < METRIC_CNT; i++) {
        /* a label belongs to the sample, not to the family that HELP and TYPE name */
        int family_len = (int)strcspn(TABLE[i].name, "{");
        if (!buf_printf(out, "# HELP consentd_%.*s %s\n# TYPE consentd_%.*s %s\nconsentd_%s ",
                        family_len, TABLE[i].name, TABLE[i].help, family_len, TABLE[i].name,
                        is_gauge(i) ? "gauge" : "counter", TABLE[i].name) ||
            !print_value(i, out) || !buf_append_char(out, '\n'))
            return false;
    }
    return true;
}
