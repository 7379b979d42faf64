/*
 * origin_stats.c - contract in consentd/origin_stats.h.
 *
 *   row of worker 0: [site 0, origin 0] [site 0, origin 1] [site 1, origin 0] ... row of worker 1
 *
 * A row begins on a page of its own, so that workers never share a cache line.
 */
#include "consentd/origin_stats.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consentd/config.h"
#include "consentd/json.h"

#define PAGE 4096u

unsigned origin_stats_cnt(const struct config *c)
{
    size_t cnt = 0;

    for (size_t i = 0; i < c->site_cnt; i++)
        cnt += c->sites[i].origin_cnt;
    return (unsigned)cnt;
}

static size_t row_len(const struct config *c)
{
    size_t len = origin_stats_cnt(c) * sizeof(struct origin_stats);

    return (len + PAGE - 1) / PAGE * PAGE;
}

int origin_stats_create(const struct config *c, unsigned workers)
{
    int fd = memfd_create("consentd-origins", MFD_CLOEXEC);

    if (fd >= 0 && ftruncate(fd, (off_t)(row_len(c) * workers)) != 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

struct origin_stats *origin_stats_map(int fd, const struct config *c, unsigned *workers_out)
{
    size_t row = row_len(c);
    struct stat st;
    void *at;

    if (fstat(fd, &st) != 0 || st.st_size <= 0 || (size_t)st.st_size % row != 0)
        return NULL;
    at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return NULL;
    *workers_out = (unsigned)((size_t)st.st_size / row);
    return at;
}

/* The row alone; nothing is cleared. */
static const struct origin_stats *row_of(const struct origin_stats *all, const struct config *c,
                                         unsigned worker)
{
    return (const struct origin_stats *)(const void *)((const char *)all + row_len(c) * worker);
}

struct origin_stats *origin_stats_row(struct origin_stats *all, const struct config *c,
                                      unsigned worker)
{
    struct origin_stats *row = (struct origin_stats *)(void *)((char *)all + row_len(c) * worker);

    for (unsigned i = 0; i < origin_stats_cnt(c); i++) {
        uint64_t state = atomic_load_explicit(&row[i].state, memory_order_relaxed);
        bool down = state == ORIGIN_DOWN || state == ORIGIN_PROBING;

        origin_stats_set(&row[i].state, down ? ORIGIN_DOWN : ORIGIN_UNKNOWN);
        origin_stats_set(&row[i].busy, 0);
        origin_stats_set(&row[i].idle, 0);
    }
    return row;
}

static uint64_t get(const _Atomic uint64_t *figure)
{
    return atomic_load_explicit(figure, memory_order_relaxed);
}

/* All workers' figures of one origin together. */
struct sum {
    unsigned workers[ORIGIN_UP + 1]; /* how many are in which state */
    uint64_t busy, idle;
#define SUM_FIELD(field, name, help) uint64_t field;
    ORIGIN_FIGURES(SUM_FIELD)
#undef SUM_FIELD
};

static void add_up(const struct origin_stats *all, const struct config *c, unsigned workers,
                   unsigned origin, struct sum *out)
{
    *out = (struct sum){.busy = 0};
    for (unsigned w = 0; w < workers; w++) {
        const struct origin_stats *one = row_of(all, c, w) + origin;
        uint64_t state = get(&one->state);

        out->workers[state <= ORIGIN_UP ? state : ORIGIN_UNKNOWN]++;
        out->busy += get(&one->busy);
        out->idle += get(&one->idle);
#define SUM_ADD(field, name, help) out->field += get(&one->field);
        ORIGIN_FIGURES(SUM_ADD)
#undef SUM_ADD
    }
}

/* The place of the same origin of the same site, or -1. */
static int place_of(const struct config *c, const char *site, const char *url)
{
    int at = 0;

    for (size_t i = 0; i < c->site_cnt; i++) {
        for (size_t k = 0; k < c->sites[i].origin_cnt; k++, at++) {
            if (strcmp(c->sites[i].name, site) == 0 && strcmp(c->sites[i].origins[k].url, url) == 0)
                return at;
        }
    }
    return -1;
}

static void set_down(struct origin_stats *all, const struct config *c, unsigned workers, int place)
{
    for (unsigned w = 0; w < workers; w++)
        origin_stats_set(
            &((struct origin_stats *)(void *)((char *)all + row_len(c) * w))[place].state,
            ORIGIN_DOWN);
}

void origin_stats_inherit(int fd, const struct config *c, int old_fd, const struct config *old)
{
    unsigned workers, old_workers, at = 0;
    struct origin_stats *all = origin_stats_map(fd, c, &workers);
    struct origin_stats *before = origin_stats_map(old_fd, old, &old_workers);

    for (size_t i = 0; all != NULL && before != NULL && i < old->site_cnt; i++) {
        for (size_t k = 0; k < old->sites[i].origin_cnt; k++) {
            int place = place_of(c, old->sites[i].name, old->sites[i].origins[k].url);
            struct sum sum;

            add_up(before, old, old_workers, at++, &sum);
            if (place >= 0 && sum.workers[ORIGIN_UP] == 0 &&
                sum.workers[ORIGIN_DOWN] + sum.workers[ORIGIN_PROBING] > 0)
                set_down(all, c, workers, place);
        }
    }
    if (all != NULL)
        munmap(all, row_len(c) * workers);
    if (before != NULL)
        munmap(before, row_len(old) * old_workers);
}

/* What most would say: down only when every worker that knows it says so. */
static const char *state_name(const struct sum *sum)
{
    if (sum->workers[ORIGIN_UP] > 0)
        return "up";
    if (sum->workers[ORIGIN_PROBING] > 0)
        return "probing";
    return sum->workers[ORIGIN_DOWN] > 0 ? "down" : "unknown";
}

static bool print_json(const struct config_site *site, const struct config_origin *o,
                       const struct sum *sum, struct buf *out)
{
    bool ok =
        buf_append_c(out, "{\"site\":") && json_quote(str_c(site->name), out) &&
        buf_append_c(out, ",\"origin\":") && json_quote(str_c(o->url), out) &&
        buf_printf(out,
                   ",\"state\":\"%s\",\"backup\":%s,\"weight\":%u,\"workers_up\":%u,"
                   "\"workers_probing\":%u,\"workers_down\":%u,\"busy\":%llu,\"idle\":%llu",
                   state_name(sum), o->backup ? "true" : "false", o->weight,
                   sum->workers[ORIGIN_UP], sum->workers[ORIGIN_PROBING], sum->workers[ORIGIN_DOWN],
                   (unsigned long long)sum->busy, (unsigned long long)sum->idle);
#define PRINT_FIELD(field, name, help)                                                             \
    ok = ok && buf_printf(out, ",\"" #field "\":%llu", (unsigned long long)sum->field);
    ORIGIN_FIGURES(PRINT_FIELD)
#undef PRINT_FIELD
    return ok && buf_append_char(out, '}');
}

bool origin_stats_json(const struct origin_stats *all, const struct config *c, unsigned workers,
                       struct buf *out)
{
    unsigned at = 0;
    bool ok = buf_append_char(out, '[');

    for (size_t i = 0; i < c->site_cnt; i++) {
        for (size_t k = 0; ok && k < c->sites[i].origin_cnt; k++) {
            struct sum sum;

            add_up(all, c, workers, at, &sum);
            ok = (at == 0 || buf_append_char(out, ',')) &&
                 print_json(&c->sites[i], &c->sites[i].origins[k], &sum, out);
            at++;
        }
    }
    return ok && buf_append_char(out, ']');
}

/* One family of the text format, as its samples are asked for. */
static const struct {
    const char *name, *type, *help;
} FAMILIES[] = {{"workers_up", "gauge", "Workers that count this origin as up"},
                {"workers_down", "gauge", "Workers that count it as down, or probe it"},
                {"busy", "gauge", "Requests that it works on"},
                {"idle_connections", "gauge", "Kept connections without a request"},
#define FAMILY(field, name, help) {name, "counter", help},
                ORIGIN_FIGURES(FAMILY)
#undef FAMILY
};

static uint64_t sample(const struct sum *sum, size_t family)
{
    const uint64_t values[COUNT_OF(FAMILIES)] = {
        sum->workers[ORIGIN_UP], sum->workers[ORIGIN_DOWN] + sum->workers[ORIGIN_PROBING],
        sum->busy, sum->idle,
#define SAMPLE(field, name, help) sum->field,
        ORIGIN_FIGURES(SAMPLE)
#undef SAMPLE
    };

    return values[family];
}

/* Milliseconds are told in seconds, the unit of the format. */
static bool print_sample(size_t family, unsigned long long value, struct buf *out)
{
    if (str_ends(str_c(FAMILIES[family].name), STR("_seconds_total")))
        return buf_printf(out, "%llu.%03llu\n", value / 1000, value % 1000);
    return buf_printf(out, "%llu\n", value);
}

static bool print_family(const struct origin_stats *all, const struct config *c, unsigned workers,
                         size_t family, struct buf *out)
{
    unsigned at = 0;
    bool ok = buf_printf(
        out, "# HELP consentd_site_origin_%s %s\n# TYPE consentd_site_origin_%s %s\n",
        FAMILIES[family].name, FAMILIES[family].help, FAMILIES[family].name, FAMILIES[family].type);

    for (size_t i = 0; i < c->site_cnt; i++) {
        for (size_t k = 0; ok && k < c->sites[i].origin_cnt; k++) {
            struct sum sum;

            add_up(all, c, workers, at++, &sum);
            ok = buf_printf(out, "consentd_site_origin_%s{site=", FAMILIES[family].name) &&
                 json_quote(str_c(c->sites[i].name), out) && buf_append_c(out, ",origin=") &&
                 json_quote(str_c(c->sites[i].origins[k].url), out) && buf_append_c(out, "} ") &&
                 print_sample(family, sample(&sum, family), out);
        }
    }
    return ok;
}

bool origin_stats_print(const struct origin_stats *all, const struct config *c, unsigned workers,
                        struct buf *out)
{
    bool ok = true;

    for (size_t i = 0; ok && i < COUNT_OF(FAMILIES); i++)
        ok = print_family(all, c, workers, i, out);
    return ok;
}
