/*
 * names.c - contract in consentd/names.h.
 *
 * The addresses of the two families are kept apart, because their answers come one by one and
 * one of them may fail: a good answer replaces its own family alone.
 *
 * evdns is asked for single records: its getaddrinfo does not tell the TTL, and looks into
 * /etc/hosts as it was when the process began.
 */
#include "consentd/names.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consentd/buf.h"
#include "consentd/file.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/map.h"
#include "consentd/mem.h"
#include "consentd/memfile.h"
#include "consentd/timer.h"

#define HOSTS_FILE "/etc/hosts"
#define HOST_MAX   255

/* The addresses of one family. */
struct family {
    union name_address addresses[NAMES_ADDRESSES_MAX];
    unsigned cnt, next; /* next: with which the next list begins */
    bool asked;         /* a query is out */
    bool empty;         /* the last answer says: none */
};

struct name {
    struct names *names;
    char *host; /* owned */
    struct family v4, v6;
    uint32_t version;
    bool known;        /* some answer has come, be it that there is none */
    bool failed;       /* the last round brought nothing good; said once */
    uint64_t gone_ms;  /* since then it has no address, they say; 0: it has */
    uint64_t ttl_ms;   /* of this round so far */
    struct timer next; /* when it is looked up again */
    struct name_wait *waits;
};

struct names {
    struct loop *loop;       /* borrowed */
    struct evdns_base *base; /* owned; NULL until a name is looked up */
    struct map *map;         /* owned; host -> struct name, owned */
    bool own_servers;        /* those of resolv.conf are not asked */
    struct buf hosts;        /* HOSTS_FILE as it was last read */
    struct timespec hosts_mtime;
    off_t hosts_size;
};

/* --- hosts(5) --- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The next word of a line; empty at its end. */
static struct str next_word(struct str *rest)
{
    size_t from = 0, to;

    while (from < rest->len && is_blank(rest->ptr[from]))
        from++;
    to = from;
    while (to < rest->len && !is_blank(rest->ptr[to]))
        to++;
    struct str word = str_slice(*rest, from, to - from);
    *rest = str_slice(*rest, to, rest->len);
    return word;
}

static bool line_has(struct str names, struct str host)
{
    struct str name;

    while ((name = next_word(&names)).len > 0) {
        if (str_eq_fold(name, host))
            return true;
    }
    return false;
}

static bool parse_address(struct str text, union name_address *out)
{
    char copy[INET6_ADDRSTRLEN];

    memset(out, 0, sizeof(*out));
    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET, copy, &out->in.sin_addr) == 1) {
        out->in.sin_family = AF_INET;
        return true;
    }
    out->in6.sin6_family = AF_INET6;
    return inet_pton(AF_INET6, copy, &out->in6.sin6_addr) == 1;
}

unsigned names_of_hosts(struct str text, struct str host, union name_address *out, unsigned max)
{
    struct str line, kept, address;
    unsigned cnt = 0;

    while (cnt < max && str_cut(&text, '\n', &line)) {
        str_cut(&line, '#', &kept);
        address = next_word(&kept);
        if (line_has(kept, host) && parse_address(address, &out[cnt]))
            cnt++;
    }
    return cnt;
}

static void read_hosts(struct names *names)
{
    struct stat st;
    struct buf text;
    struct fault why;

    if (stat(HOSTS_FILE, &st) != 0 ||
        (st.st_mtim.tv_sec == names->hosts_mtime.tv_sec &&
         st.st_mtim.tv_nsec == names->hosts_mtime.tv_nsec && st.st_size == names->hosts_size))
        return;
    names->hosts_mtime = st.st_mtim;
    names->hosts_size = st.st_size;
    buf_init(&text, NAMES_HOSTS_MAX);
    if (file_read(HOSTS_FILE, NAMES_HOSTS_MAX, &text, &why)) {
        buf_free(&names->hosts);
        names->hosts = text;
    } else {
        log_debug("names.hosts", "reason=\"%s\"", why.text); /* it is handed in */
        buf_free(&text);
    }
}

/* False, and a line in the log: another process could still change what is there. */
static bool is_sealed(int fd, const char *file)
{
    bool sealed = memfile_is_sealed(fd);

    if (!sealed)
        log_error("names.refused", "file=%s reason=\"it is not a sealed memory file\"", file);
    return sealed;
}

void names_take_hosts(struct names *names, int fd)
{
    struct buf text;
    uint8_t *room;
    ssize_t got;

    if (!is_sealed(fd, HOSTS_FILE))
        return;
    buf_init(&text, NAMES_HOSTS_MAX);
    room = buf_reserve(&text, NAMES_HOSTS_MAX);
    got = room != NULL ? pread(fd, room, NAMES_HOSTS_MAX, 0) : -1;
    if (got < 0) {
        log_warn("names.hosts", "reason=\"%s\"", strerror(errno));
        buf_free(&text);
        return;
    }
    buf_commit(&text, (size_t)got);
    buf_free(&names->hosts);
    names->hosts = text;
}

/* --- what is known of a name --- */

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
    const union name_address *x = (const void *)a, *y = (const void *)b;

    if (a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return x->in.sin_addr.s_addr == y->in.sin_addr.s_addr;
    return a->sa_family == AF_INET6 &&
           memcmp(&x->in6.sin6_addr, &y->in6.sin6_addr, sizeof(x->in6.sin6_addr)) == 0;
}

static bool family_has(const struct family *family, const struct sockaddr *address)
{
    for (unsigned i = 0; i < family->cnt; i++) {
        if (same_address(&family->addresses[i].sa, address))
            return true;
    }
    return false;
}

bool name_has(const struct name *name, const struct sockaddr *address)
{
    return family_has(&name->v4, address) || family_has(&name->v6, address);
}

/* Takes over a list (NULL: an empty one); answers may come in any order, which is no change. */
static void family_set(struct name *name, struct family *family, const union name_address *list,
                       unsigned cnt)
{
    bool same = cnt == family->cnt;

    for (unsigned i = 0; same && i < cnt; i++)
        same = family_has(family, &list[i].sa);
    if (same)
        return;
    if (cnt > 0)
        memcpy(family->addresses, list, cnt * sizeof(*list));
    family->cnt = cnt;
    name->version++;
    if (name->known)
        log_info("name.changed", "host=%s addresses=%u", name->host, name->v4.cnt + name->v6.cnt);
}

uint32_t name_version(const struct name *name)
{
    return name->version;
}

static unsigned family_list(struct family *family, union name_address *out, unsigned max)
{
    unsigned cnt = family->cnt < max ? family->cnt : max;

    for (unsigned i = 0; i < cnt; i++)
        out[i] = family->addresses[(family->next + i) % family->cnt];
    family->next = cnt > 0 ? (family->next + 1) % family->cnt : 0;
    return cnt;
}

unsigned name_addresses(struct name *name, union name_address *out, unsigned max)
{
    unsigned cnt = family_list(&name->v4, out, max);

    return cnt + family_list(&name->v6, out + cnt, max - cnt);
}

/* --- who waits --- */

void name_unwait(struct name_wait *wait)
{
    if (wait->name == NULL)
        return;
    if (wait->prev != NULL)
        wait->prev->next = wait->next;
    else
        wait->name->waits = wait->next;
    if (wait->next != NULL)
        wait->next->prev = wait->prev;
    wait->name = NULL;
}

bool name_wait(struct name *name, struct name_wait *wait)
{
    if (name->known)
        return true;
    wait->name = name;
    wait->prev = NULL;
    wait->next = name->waits;
    if (wait->next != NULL)
        wait->next->prev = wait;
    name->waits = wait;
    return false;
}

static void tell(struct name *name)
{
    name->known = true;
    while (name->waits != NULL) {
        struct name_wait *wait = name->waits;

        name_unwait(wait);
        wait->fn(wait->arg);
    }
}

/* --- a round of questions --- */

/* Both families say that there is no such address: believed, but not at once. */
static void is_gone(struct name *name, uint64_t now_ms)
{
    if (name->gone_ms == 0)
        name->gone_ms = now_ms;
    if (now_ms - name->gone_ms < NAMES_GONE_MS)
        return;
    family_set(name, &name->v4, NULL, 0);
    family_set(name, &name->v6, NULL, 0);
}

static void round_end(struct name *name)
{
    bool good = name->ttl_ms > 0, gone = name->v4.empty && name->v6.empty;

    if (!good && gone)
        is_gone(name, loop_now_ms(name->names->loop));
    if (!good && !name->failed)
        log_warn("name.unresolved", "host=%s reason=\"%s\" addresses=%u", name->host,
                 gone ? "no such name" : "no good answer", name->v4.cnt + name->v6.cnt);
    name->failed = !good;
    timer_set(&name->next, good ? name->ttl_ms : NAMES_RETRY_MS);
    tell(name);
}

static uint64_t clamp_ttl(int seconds)
{
    uint64_t ms = seconds > 0 ? (uint64_t)seconds * 1000 : 0;

    if (ms < NAMES_TTL_MIN_MS)
        return NAMES_TTL_MIN_MS;
    return ms < NAMES_TTL_MAX_MS ? ms : NAMES_TTL_MAX_MS;
}

/* A good answer of one family: binary addresses one behind the other. */
static void take_answer(struct name *name, bool v6, const void *data, unsigned cnt, uint64_t ttl_ms)
{
    union name_address list[NAMES_ADDRESSES_MAX];
    const struct in_addr *in = data;
    const struct in6_addr *in6 = data;

    memset(list, 0, sizeof(list));
    cnt = cnt < NAMES_ADDRESSES_MAX ? cnt : NAMES_ADDRESSES_MAX;
    for (unsigned i = 0; i < cnt; i++) {
        list[i].sa.sa_family = v6 ? AF_INET6 : AF_INET;
        if (v6)
            memcpy(&list[i].in6.sin6_addr, &in6[i], sizeof(in6[i]));
        else
            memcpy(&list[i].in.sin_addr, &in[i], sizeof(in[i]));
    }
    family_set(name, v6 ? &name->v6 : &name->v4, list, cnt);
    if (name->ttl_ms == 0 || ttl_ms < name->ttl_ms)
        name->ttl_ms = ttl_ms;
    name->gone_ms = 0;
}

static void on_answer(struct name *name, bool v6, int error, int cnt, int ttl, const void *data)
{
    struct family *family = v6 ? &name->v6 : &name->v4;
    struct family *other = v6 ? &name->v4 : &name->v6;

    if (error == DNS_ERR_SHUTDOWN || error == DNS_ERR_CANCEL)
        return;
    family->asked = false;
    family->empty =
        error == DNS_ERR_NODATA || error == DNS_ERR_NOTEXIST || (error == DNS_ERR_NONE && cnt == 0);
    if (error == DNS_ERR_NONE && cnt > 0)
        take_answer(name, v6, data, (unsigned)cnt, clamp_ttl(ttl));
    if (!other->asked) {
        if (name->ttl_ms > 0) { /* a family without addresses beside one with some */
            if (name->v4.empty)
                family_set(name, &name->v4, NULL, 0);
            if (name->v6.empty)
                family_set(name, &name->v6, NULL, 0);
        }
        round_end(name);
    } else if (name->ttl_ms > 0) {
        tell(name); /* the other family may take its time */
    }
}

static void on_a(int error, char type, int cnt, int ttl, void *data, void *arg)
{
    (void)type;
    on_answer(arg, false, error, cnt, ttl, data);
}

static void on_aaaa(int error, char type, int cnt, int ttl, void *data, void *arg)
{
    (void)type;
    on_answer(arg, true, error, cnt, ttl, data);
}

static struct evdns_base *base_of(struct names *names)
{
    struct event_base *loop = loop_base(names->loop);
    int flags = EVDNS_BASE_DISABLE_WHEN_INACTIVE;

    if (names->base == NULL && !names->own_servers)
        names->base = evdns_base_new(loop, flags | EVDNS_BASE_INITIALIZE_NAMESERVERS);
    if (names->base == NULL)
        names->base = evdns_base_new(loop, flags);
    return names->base;
}

/*
 * libevent reads files by name. One in memory is under no folder that the sandbox guards, so its
 * number is a name that it may open.
 */
void names_take_resolv(struct names *names, int fd)
{
    int what = DNS_OPTIONS_ALL & ~DNS_OPTION_HOSTSFILE;
    char path[32];

    if (!is_sealed(fd, "/etc/resolv.conf") || names->own_servers)
        return;                   /* those of the system are not asked */
    if (base_of(names) == NULL) { /* before the first name too: the real file can't be opened */
        log_warn("names.resolv", "reason=\"no resolver can be made\"");
        return;
    }
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    evdns_base_search_clear(names->base);
    evdns_base_clear_nameservers_and_suspend(names->base);
    if (evdns_base_resolv_conf_parse(names->base, what, path) != 0)
        log_warn("names.resolv", "reason=\"the new resolv.conf names no server\"");
    evdns_base_resume(names->base);
}

/* /etc/hosts has the name: nobody is asked. */
static bool in_hosts(struct name *name)
{
    union name_address list[2 * NAMES_ADDRESSES_MAX], v4[NAMES_ADDRESSES_MAX],
        v6[NAMES_ADDRESSES_MAX];
    unsigned cnt, v4_cnt = 0, v6_cnt = 0;

    read_hosts(name->names);
    cnt = names_of_hosts(buf_str(&name->names->hosts), str_c(name->host), list, COUNT_OF(list));
    for (unsigned i = 0; i < cnt; i++) {
        if (list[i].sa.sa_family == AF_INET && v4_cnt < NAMES_ADDRESSES_MAX)
            v4[v4_cnt++] = list[i];
        else if (list[i].sa.sa_family == AF_INET6 && v6_cnt < NAMES_ADDRESSES_MAX)
            v6[v6_cnt++] = list[i];
    }
    if (cnt == 0)
        return false;
    family_set(name, &name->v4, v4, v4_cnt);
    family_set(name, &name->v6, v6, v6_cnt);
    name->ttl_ms = NAMES_HOSTS_MS;
    name->gone_ms = 0;
    return true;
}

static void look_up(void *arg)
{
    struct name *name = arg;
    struct evdns_base *base;

    name->ttl_ms = 0;
    name->v4.empty = name->v6.empty = false;
    if (in_hosts(name)) {
        round_end(name);
        return;
    }
    base = base_of(name->names);
    if (base == NULL || evdns_base_count_nameservers(base) == 0) {
        round_end(name);
        return;
    }
    name->v4.asked = name->v6.asked = true;
    if (evdns_base_resolve_ipv4(base, name->host, 0, on_a, name) == NULL)
        name->v4.asked = false;
    if (evdns_base_resolve_ipv6(base, name->host, 0, on_aaaa, name) == NULL)
        name->v6.asked = false;
    if (!name->v4.asked && !name->v6.asked)
        round_end(name);
}

/* --- all names --- */

struct names *names_new(struct loop *loop)
{
    struct names *names = mem_new(struct names);

    names->loop = loop;
    names->map = map_new();
    buf_init(&names->hosts, NAMES_HOSTS_MAX);
    return names;
}

static void name_free(void *value)
{
    struct name *name = value;

    timer_clear(&name->next);
    free(name->host);
    free(name);
}

void names_free(struct names *names)
{
    if (names == NULL)
        return;
    if (names->base != NULL)
        evdns_base_free(names->base, 0);
    map_free(names->map, name_free);
    buf_free(&names->hosts);
    free(names);
}

/* address[:port], [v6]:port; the port of DNS when there is none. */
static bool parse_server(const char *server, struct sockaddr_storage *out, int *len)
{
    struct sockaddr *sa = (struct sockaddr *)(void *)out;

    *len = sizeof(*out);
    if (evutil_parse_sockaddr_port(server, sa, len) != 0)
        return false;
    if (sa->sa_family == AF_INET && ((struct sockaddr_in *)(void *)out)->sin_port == 0)
        ((struct sockaddr_in *)(void *)out)->sin_port = htons(53);
    if (sa->sa_family == AF_INET6 && ((struct sockaddr_in6 *)(void *)out)->sin6_port == 0)
        ((struct sockaddr_in6 *)(void *)out)->sin6_port = htons(53);
    return true;
}

bool names_server_check(const char *server)
{
    struct sockaddr_storage address;
    int len;

    return parse_server(server, &address, &len);
}

bool names_server_add(struct names *names, const char *server)
{
    struct sockaddr_storage address;
    struct evdns_base *base;
    int len;

    names->own_servers = true;
    base = base_of(names);
    return base != NULL && parse_server(server, &address, &len) &&
           evdns_base_nameserver_sockaddr_add(base, (struct sockaddr *)(void *)&address,
                                              (ev_socklen_t)len, 0) == 0;
}

struct name *names_find(struct names *names, const char *host)
{
    struct name *name = map_get(names->map, str_c(host));

    if (name != NULL)
        return name;
    name = mem_new(struct name);
    name->names = names;
    name->host = mem_strdup(host);
    timer_init(&name->next, names->loop, look_up, name);
    ASSERT(map_put(names->map, str_c(name->host), name));
    look_up(name);
    return name;
}
