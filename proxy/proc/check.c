/*
 * check.c - what the configuration names, judged by the layers that know it: addresses, users,
 * rule sets. config_check.c has judged what can be seen in the file alone.
 */
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "consentd/config.h"
#include "consentd/endpoint.h"
#include "consentd/listener.h"
#include "consentd/mem.h"
#include "consentd/names.h"
#include "consentd/redis.h"
#include "consentd/ruleset.h"
#include "consentd/sinks.h"
#include "proc_priv.h"

/* The sandbox opens the way to it once, at the start. */
static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_listed(const char *const *list, size_t cnt, const char *path)
{
    for (size_t i = 0; i < cnt; i++) {
        if (strcmp(list[i], path) == 0)
            return true;
    }
    return false;
}

size_t acme_folders(const struct config *c, const char *out[ACME_FOLDERS_MAX])
{
    size_t cnt = 0, all = 0;

    for (size_t i = 0; i < c->listen_cnt; i++) {
        const char *dir = c->listens[i].acme;

        if (dir == NULL || dir[0] != '/' || is_listed(out, cnt, dir))
            continue;
        if (cnt < ACME_FOLDERS_MAX)
            out[cnt++] = dir;
        all++;
    }
    return all;
}

static bool check_acme(const struct config *c, struct fault *f)
{
    const char *folders[ACME_FOLDERS_MAX];
    size_t cnt = acme_folders(c, folders);

    if (cnt <= ACME_FOLDERS_MAX)
        return true;
    fault_set(f, "listen: \"acme\" names %zu folders, %d are possible; several may share one", cnt,
              ACME_FOLDERS_MAX);
    return false;
}

static bool check_listens(const struct config *c, struct fault *f)
{
    for (size_t i = 0; i < c->listen_cnt; i++) {
        if (!listener_check(c->listens[i].address, f)) {
            fault_prefix(f, "listen[%zu].address", i);
            return false;
        }
        const char *acme = c->listens[i].acme;

        if (acme != NULL && acme[0] != '/' && strcmp(acme, "origin") != 0) {
            fault_set(f, "listen[%zu].acme: \"%s\" is neither a folder's full path nor \"origin\"",
                      i, acme);
            return false;
        }
        if (acme != NULL && acme[0] == '/' && !is_folder(acme)) {
            fault_set(f, "listen[%zu].acme: %s: there is no such folder", i, acme);
            return false;
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(c->listens[i].address, c->listens[k].address) != 0)
                continue;
            fault_set(f, "listen[%zu].address: %s is listen[%zu]'s already", i,
                      c->listens[i].address, k);
            return false;
        }
    }
    return check_acme(c, f);
}

/* Health and metrics name sites and origins, and are asked for by anybody who gets there. */
static bool check_watch(const struct config *c, struct fault *f)
{
    const char *address = c->admin.listen;

    if (address == NULL)
        return true;
    if (!listener_check(address, f)) {
        fault_prefix(f, "admin.listen");
        return false;
    }
    if (c->admin.listen_public || listener_is_local(address))
        return true;
    fault_set(f,
              "admin.listen: other machines reach %s; expected an address of loopback such as "
              "127.0.0.1:9145, or \"listen_public\": true beside it",
              address);
    return false;
}

static bool check_origins(const struct config *c, struct fault *f)
{
    struct endpoint endpoint;

    for (size_t i = 0; i < c->site_cnt; i++) {
        for (size_t k = 0; k < c->sites[i].origin_cnt; k++) {
            const char *url = c->sites[i].origins[k].url;
            bool redis = strncmp(url, "redis", 5) == 0;

            if (!redis && endpoint_parse(str_c(url), &endpoint, f))
                continue;
            fault_set(f,
                      "sites[%zu].origins[%zu]: \"%s\" is no origin: expected http://HOST[:PORT], "
                      "https://HOST[:PORT] or unix:/PATH",
                      i, k, url);
            return false;
        }
    }
    return true;
}

static bool check_resolver(const struct config *c, struct fault *f)
{
    for (size_t i = 0; i < c->resolver.cnt; i++) {
        if (names_server_check(c->resolver.items[i]))
            continue;
        fault_set(f,
                  "resolver[%zu]: \"%s\" is no address: expected \"192.0.2.53\", "
                  "\"192.0.2.53:5353\" or \"[2001:db8::1]:53\"",
                  i, c->resolver.items[i]);
        return false;
    }
    return true;
}

static bool check_sinks(const struct config *c, struct fault *f)
{
    for (size_t i = 0; i < c->ledger.checkpoint_sinks.cnt; i++)
        if (!sink_url_ok(str_c(c->ledger.checkpoint_sinks.items[i]), f)) {
            fault_prefix(f, "ledger.checkpoint_sinks");
            return false;
        }
    return true;
}

static bool check_redis(const struct config *c, struct fault *f)
{
    if (c->ledger.redis == NULL || rlink_url_ok(str_c(c->ledger.redis), f))
        return check_sinks(c, f);
    fault_prefix(f, "ledger.redis");
    return false;
}

static bool check_people(const struct config *c, struct fault *f)
{
    if (c->user != NULL && getpwnam(c->user) == NULL)
        fault_set(f, "user: there is no user \"%s\"", c->user);
    else if (c->group != NULL && getgrnam(c->group) == NULL)
        fault_set(f, "group: there is no group \"%s\"", c->group);
    else if (c->admin.group != NULL && getgrnam(c->admin.group) == NULL)
        fault_set(f, "admin.group: there is no group \"%s\"", c->admin.group);
    else
        return true;
    return false;
}

static bool check_sets(const struct config *c, const struct rules *rules, struct fault *f)
{
    for (size_t i = 0; i < c->site_cnt; i++) {
        for (size_t k = 0; k < c->sites[i].rule_set_cnt; k++) {
            const char *name = c->sites[i].rule_sets[k].set;
            const char *near;

            if (rules_find(rules, str_c(name)) >= 0)
                continue;
            near = rules_nearest(rules, name);
            fault_set(f, "sites[%zu].rule_sets: there is no rule set \"%s\"%s%s%s", i, name,
                      near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                      near != NULL ? "\"?" : "");
            return false;
        }
    }
    return true;
}

bool material_check(const char *path, const struct config *c, const struct live *live,
                    struct fault *f)
{
    if (check_listens(c, f) && check_watch(c, f) && check_origins(c, f) && check_resolver(c, f) &&
        check_redis(c, f) && check_people(c, f) && check_sets(c, live->rules, f))
        return true;
    fault_prefix(f, "%s", path);
    return false;
}
