/*
 * cmd_policy.c - consentctl policy check | show | diff | publish.
 *
 *   publish:  read ─▶ compare with what is in force ─▶ say what it means ─▶ ask ─▶ record
 *             ─▶ write the file that the configuration names ─▶ reload ─▶ wait until on record
 *
 * Nothing is written before the ledger has the record, and nothing is asked of a visitor that the
 * operator was not told first.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/config.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/json.h"
#include "consentd/mem.h"
#include "consentd/notice.h"
#include "consentd/notices.h"
#include "consentd/restarts.h"
#include "ctl_priv.h"

#define HASH_MIN   4    /* hex digits that name a document */
#define WAIT_TRIES 400  /* looks whether a notice is in force */
#define WAIT_MS    50   /* between two of them */
#define SHOWN_MAX  2000 /* bytes of one text in a diff */

/* What every command here begins with. */
struct work {
    struct config *config;   /* owned */
    struct notices *history; /* owned */
    struct log_restarts restarts;
    size_t site;      /* index in the configuration */
    const char *host; /* its first name: the site in records */
    struct fault f;
};

static void work_end(struct work *w)
{
    notices_free(w->history);
    config_free(w->config);
}

static bool find_site(struct work *w, const char *name)
{
    if (name == NULL && w->config->site_cnt > 1) {
        fault_set(&w->f, "there are %zu sites: say which with --site NAME", w->config->site_cnt);
        return false;
    }
    for (w->site = 0; name != NULL && w->site < w->config->site_cnt; w->site++) {
        if (strcmp(w->config->sites[w->site].name, name) == 0)
            break;
    }
    if (w->site == w->config->site_cnt) {
        fault_set(&w->f, "there is no site \"%s\"", name);
        return false;
    }
    w->host = w->config->sites[w->site].hosts.items[0];
    return true;
}

/* What reading a policy needs: nothing that only the daemon's user may read. */
static bool work_site(struct work *w, const struct ctl_args *args, const char *site)
{
    *w = (struct work){0};
    w->config = config_load(args->config, &w->f);
    return w->config != NULL && find_site(w, site);
}

static bool work_begin(struct work *w, const struct ctl_args *args, const char *site)
{
    char *folder;

    if (!work_site(w, args, site) ||
        !restarts_read(w->config->ledger.journal, w->config->ledger.node, &w->restarts, &w->f))
        return false;
    folder = file_resolve(w->config->state_dir, NOTICES_FOLDER);
    w->history = notices_open(folder, &w->f);
    free(folder);
    return w->history != NULL;
}

/* --- printing -------------------------------------------------------------------------------- */

static void print_text(const char *sign, const char *text)
{
    if (text != NULL)
        printf("    %s %.*s%s\n", sign, SHOWN_MAX, text, strlen(text) > SHOWN_MAX ? "…" : "");
}

static void print_change(const struct notice_change *c)
{
    static const char *const signs[] = {"~", "+", "-"};

    printf("%s %s\n", signs[c->kind], c->place);
    print_text("-", c->before);
    print_text("+", c->after);
    printf("    %s: %s\n", c->epoch ? "asks again" : "no new epoch", c->why);
}

static void print_diff(const struct notice_diff *d)
{
    size_t epochs = 0;

    for (size_t i = 0; i < d->cnt; i++) {
        print_change(&d->items[i]);
        epochs += d->items[i].epoch ? 1 : 0;
    }
    if (d->cut)
        printf("… and more\n");
    printf("%zu change%s%s", d->cnt, d->cnt == 1 ? "" : "s", d->cnt > 0 ? ", " : "\n");
    if (d->cnt > 0 && epochs == 0)
        printf("none of which asks people again\n");
    else if (d->cnt > 0)
        printf("%zu of which ask%s people again: a new epoch is needed\n", epochs,
               epochs == 1 ? "s" : "");
}

static void print_json(const struct notice_diff *d)
{
    static const char *const kinds[] = {"changed", "added", "removed"};
    json_t *list = json_array();
    json_t *root = json_pack("{s:b, s:o}", "epoch", d->epoch, "changes", list);

    for (size_t i = 0; i < d->cnt; i++) {
        const struct notice_change *c = &d->items[i];

        json_array_append_new(list,
                              json_pack("{s:s, s:b, s:s, s:s*, s:s*, s:s}", "kind", kinds[c->kind],
                                        "epoch", c->epoch, "place", c->place, "before", c->before,
                                        "after", c->after, "why", c->why));
    }
    json_dumpf(root, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(root);
}

/* --- check and show --------------------------------------------------------------------------- */

int cmd_policy_check(struct ctl_args *args)
{
    const char *file = NULL, *site = NULL;
    const struct ctl_option options[] = {{"--site", &site, NULL}, {"", &file, NULL}};
    struct policy *policy = NULL;
    char hash[65];
    struct work w;
    int status = CTL_OK;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (work_site(&w, args, site))
        policy = ctl_load_notice(w.config, w.site, file, &w.f);
    if (policy == NULL) {
        status = ctl_fail("%s", w.f.text);
    } else {
        hex_encode(hash, policy->doc_hash, sizeof(policy->doc_hash));
        printf("%s: fine; version %s, epoch %u, %zu languages; its notice document has %zu bytes\n"
               "sha256 %s\n",
               file != NULL ? file : w.config->sites[w.site].policy, policy->version, policy->epoch,
               policy->language_cnt, policy->document.len, hash);
    }
    policy_free(policy);
    work_end(&w);
    return status;
}

/* The document whose hash begins so, of any site. NULL with the reason. */
static const struct notice_use *find_document(struct work *w, const char *start)
{
    const struct notice_use *found = NULL;
    size_t len = strlen(start);
    bool several = false;

    for (size_t i = 0; i < notices_cnt(w->history) && len >= HASH_MIN; i++) {
        const struct notice_use *use = notices_at(w->history, i);
        char hash[65];

        hex_encode(hash, use->hash, sizeof(use->hash));
        if (strncmp(hash, start, len) != 0)
            continue;
        several = several || (found != NULL && memcmp(found->hash, use->hash, 32) != 0);
        found = use;
    }
    if (several)
        fault_set(&w->f, "more than one document begins with \"%s\": give more digits", start);
    else if (found == NULL)
        fault_set(&w->f,
                  "no document \"%s\": give at least %d digits of a hash that policy show has",
                  start, HASH_MIN);
    return several ? NULL : found;
}

/* "1:4711": the log of that leaf, and the leaf; "4711" when the line names no node. */
static void print_record(const struct work *w, const struct notice_use *use, char out[32])
{
    struct log_restarts other;
    const char *folder = w->config->ledger.journal;

    if (use->node == w->restarts.first)
        snprintf(out, 32, "%u:%" PRIu64, restarts_node_of(&w->restarts, use->leaf), use->leaf);
    else if (use->node != 0 && restarts_read(folder, use->node, &other, NULL))
        snprintf(out, 32, "%u:%" PRIu64, restarts_node_of(&other, use->leaf), use->leaf);
    else
        snprintf(out, 32, "%" PRIu64, use->leaf);
}

static void print_history(const struct work *w)
{
    printf("%-24s  %-5s  %-16s  %-8s  %s\n", "SINCE", "EPOCH", "VERSION", "RECORD", "DOCUMENT");
    for (size_t i = 0; i < notices_cnt(w->history); i++) {
        const struct notice_use *use = notices_at(w->history, i);
        char when[CLOCK_TEXT_MAX], hash[65], record[32];

        if (strcmp(use->site, w->host) != 0)
            continue;
        hex_encode(hash, use->hash, sizeof(use->hash));
        print_record(w, use, record);
        printf("%-24s  %-5u  %-16s  %-8s  %s\n", clock_format(use->ts_ms, when), use->epoch,
               use->version, record, hash);
    }
}

static int print_document(struct work *w, const char *start)
{
    const struct notice_use *use = find_document(w, start);
    struct buf text;
    json_t *root = NULL;

    buf_init(&text, NOTICE_MAX);
    if (use != NULL && notices_read(w->history, use->hash, &text, &w->f))
        root = json_load_text("document", buf_str(&text), 0, &w->f);
    buf_free(&text);
    if (root == NULL)
        return ctl_fail("%s", w->f.text);
    json_dumpf(root, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(root);
    return CTL_OK;
}

int cmd_policy_show(struct ctl_args *args)
{
    const char *start = NULL, *site = NULL;
    const struct ctl_option options[] = {{"--site", &site, NULL}, {"", &start, NULL}};
    int status = CTL_OK;
    struct work w;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (!work_begin(&w, args, site))
        status = ctl_fail("%s", w.f.text);
    else if (start != NULL)
        status = print_document(&w, start);
    else
        print_history(&w);
    work_end(&w);
    return status;
}

/* --- diff ------------------------------------------------------------------------------------- */

/* A document by the beginning of its hash, or the one that a policy file would have. */
static bool read_side(struct work *w, const char *what, struct buf *out)
{
    const struct notice_use *use;
    struct policy *policy;
    bool ok;

    if (access(what, F_OK) != 0) {
        use = find_document(w, what);
        return use != NULL && notices_read(w->history, use->hash, out, &w->f);
    }
    policy = ctl_load_notice(w->config, w->site, what, &w->f);
    ok = policy != NULL && buf_append_str(out, policy->document);
    policy_free(policy);
    return ok;
}

/* What is in force on the site; false: nothing ever was. */
static bool read_latest(struct work *w, struct buf *out)
{
    const struct notice_use *use = notices_latest(w->history, w->host);

    if (use == NULL)
        fault_set(&w->f, "nothing was published on %s yet", w->host);
    return use != NULL && notices_read(w->history, use->hash, out, &w->f);
}

int cmd_policy_diff(struct ctl_args *args)
{
    const char *one = NULL, *two = NULL, *site = NULL;
    bool json = false;
    const struct ctl_option options[] = {
        {"--site", &site, NULL}, {"--json", NULL, &json}, {"", &one, NULL}, {"", &two, NULL}};
    struct notice_diff *diff = NULL;
    struct buf before, after;
    int status = CTL_OK;
    struct work w;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (one == NULL) {
        (void)ctl_fail("policy diff FILE: against what is in force; policy diff OLD NEW");
        return CTL_USAGE;
    }
    buf_init(&before, NOTICE_MAX);
    buf_init(&after, NOTICE_MAX);
    if (work_begin(&w, args, site) &&
        (two != NULL ? read_side(&w, one, &before) : read_latest(&w, &before)) &&
        read_side(&w, two != NULL ? two : one, &after))
        diff = notice_diff(buf_str(&before), buf_str(&after), &w.f);
    if (diff == NULL)
        status = ctl_fail("%s", w.f.text);
    else if (json)
        print_json(diff);
    else
        print_diff(diff);
    notice_diff_free(diff);
    buf_free(&before);
    buf_free(&after);
    work_end(&w);
    return status;
}

/* --- publish ---------------------------------------------------------------------------------- */

struct publication {
    struct work w;
    const char *file;
    bool yes, same_epoch;
    uint8_t file_hash[32];         /* of FILE as it was looked at */
    struct policy *policy;         /* owned: the new one */
    const struct notice_use *last; /* in force now; NULL: the first */
    char hash[65];
};

static bool has_summary(const struct policy *p)
{
    for (size_t i = 0; i < p->change_cnt; i++) {
        if (strcmp(p->changes[i].version, p->version) == 0)
            return true;
    }
    return false;
}

/* What must be right before anybody is asked; false with the reason. */
static bool judge(struct publication *p, const struct notice_diff *diff, bool policy_differs)
{
    const struct policy *policy = p->policy;
    struct fault *f = &p->w.f;

    if (policy->epoch < p->last->epoch)
        fault_set(f, "%s: epoch: is %u and was %u; it never goes back", p->file, policy->epoch,
                  p->last->epoch);
    else if (policy_differs && strcmp(policy->version, p->last->version) == 0)
        fault_set(f,
                  "%s: version: \"%s\" is in force with another text; give this one a name of "
                  "its own",
                  p->file, policy->version);
    else if (policy_differs && !has_summary(policy))
        fault_set(f,
                  "%s: changes: add an entry with \"version\": \"%s\" and a summary: visitors "
                  "are shown it",
                  p->file, policy->version);
    else if (diff->epoch && policy->epoch == p->last->epoch && !p->same_epoch)
        fault_set(f,
                  "%s: epoch: set it to %u, so that people are asked again; --same-epoch "
                  "publishes without asking them, which is recorded",
                  p->file, policy->epoch + 1);
    else
        return true;
    return false;
}

static void announce(const struct publication *p, const struct notice_diff *diff)
{
    if (p->policy->epoch > p->last->epoch)
        printf("Epoch %u: everybody is asked again and is shown the summary of changes.%s\n",
               p->policy->epoch, diff->epoch ? "" : " Nothing of this would have needed it.");
    else if (strcmp(p->policy->version, p->last->version) != 0)
        printf("Epoch %u stays: choices stand; who has made one is told once what is new.\n",
               p->policy->epoch);
    else
        printf("Version and epoch stay: new records name the new document, nobody is told.\n");
}

/* Shows what changes. 1: something does, 0: nothing, -1: it can't be published. */
static int compare(struct publication *p)
{
    struct notice_diff *diff = NULL;
    struct buf before;
    int result = -1;

    buf_init(&before, NOTICE_MAX);
    p->last = notices_latest(p->w.history, p->w.host);
    if (p->last == NULL) {
        printf("This is the first notice of %s: there is nothing to compare it with.\n", p->w.host);
        buf_free(&before);
        return 1;
    }
    if (memcmp(p->last->hash, p->policy->doc_hash, sizeof(p->last->hash)) == 0) {
        printf("%s is in force already.\n", p->file);
        result = 0;
    } else if (notices_read(p->w.history, p->last->hash, &before, &p->w.f)) {
        diff = notice_diff(buf_str(&before), p->policy->document, &p->w.f);
    }
    if (diff != NULL) {
        bool policy_differs = false;

        for (size_t i = 0; i < diff->cnt; i++)
            policy_differs =
                policy_differs || (!str_starts(str_c(diff->items[i].place), STR("service ")) &&
                                   !str_starts(str_c(diff->items[i].place), STR("banner: ")));
        printf("from version %s (epoch %u) to version %s (epoch %u) on %s\n\n", p->last->version,
               p->last->epoch, p->policy->version, p->policy->epoch, p->w.host);
        print_diff(diff);
        if (judge(p, diff, policy_differs)) {
            announce(p, diff);
            result = 1;
        }
        notice_diff_free(diff);
    }
    buf_free(&before);
    return result;
}

static bool confirmed(bool yes)
{
    char line[16];

    if (yes)
        return true;
    fputs("Publish? [yes/no] ", stderr);
    return fgets(line, sizeof(line), stdin) != NULL && strcmp(line, "yes\n") == 0;
}

/* The record, before anything is done. */
static bool record(struct publication *p, const struct ctl_args *args)
{
    const char *safe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    struct buf target, answer;
    bool ok;

    buf_init(&target, 4096);
    buf_init(&answer, CTL_ANSWER_MAX);
    ok = buf_printf(&target,
                    "/api/v1/policy?site=%s&epoch=%u&sha256=%s&same_epoch=%s&version=", p->w.host,
                    p->policy->epoch, p->hash, p->same_epoch ? "yes" : "no");
    for (const char *c = p->policy->version; *c != '\0' && ok; c++)
        ok = strchr(safe, *c) != NULL ? buf_append_char(&target, *c)
                                      : buf_printf(&target, "%%%02X", (unsigned char)*c);
    if (!ok)
        fault_set(&p->w.f, "the version is too long");
    ok = ok && ctl_ask(args, "POST", buf_cstr(&target), STR(""), &answer, &p->w.f);
    buf_free(&target);
    buf_free(&answer);
    return ok;
}

/* FILE once more, for what is done with it: what was shown and agreed to, or nothing. */
static bool read_again(struct publication *p, struct buf *out)
{
    uint8_t hash[32];

    if (!file_read(p->file, POLICY_TEXT_MAX, out, &p->w.f))
        return false;
    crypto_sha256(out->data, out->len, hash);
    if (memcmp(hash, p->file_hash, sizeof(hash)) == 0)
        return true;
    fault_set(&p->w.f, "%s: was changed meanwhile; nothing was published: look at it again",
              p->file);
    return false;
}

/* FILE takes the place of the one that the configuration names, with that one's mode and owner. */
static bool write_file(struct publication *p, struct str text)
{
    const char *to = p->w.config->sites[p->w.site].policy;
    struct stat mine, old;
    bool ok;

    if (stat(p->file, &mine) == 0 && stat(to, &old) == 0 && mine.st_dev == old.st_dev &&
        mine.st_ino == old.st_ino)
        return true;
    ok = file_write_atomic(to, text.ptr, text.len, stat(to, &old) == 0 ? old.st_mode & 07777 : 0644,
                           &p->w.f);
    if (ok && geteuid() == 0 && chown(to, old.st_uid, old.st_gid) != 0) {
        fault_set_errno(&p->w.f, "%s: written, but its owner could not be kept", to);
        ok = false;
    }
    return ok;
}

/*
 * The ledger takes over, and notes the document, when the workers that serve it are ready and the
 * others were told to take no more visitors.
 */
static bool is_in_force(const struct publication *p)
{
    char *folder = file_resolve(p->w.config->state_dir, NOTICES_FOLDER);
    struct notices *history = notices_open(folder, NULL);
    const struct notice_use *use = history != NULL ? notices_latest(history, p->w.host) : NULL;
    bool found = use != NULL && memcmp(use->hash, p->policy->doc_hash, sizeof(use->hash)) == 0;

    notices_free(history);
    free(folder);
    return found;
}

static int bring_into_force(struct publication *p, const struct ctl_args *args)
{
    const struct timespec pause = {.tv_nsec = WAIT_MS * 1000000L};
    json_t *status;
    struct buf text;
    bool ok;

    buf_init(&text, POLICY_TEXT_MAX);
    ok = read_again(p, &text) && record(p, args) && write_file(p, buf_str(&text));
    buf_free(&text);
    if (!ok)
        return ctl_fail("%s", p->w.f.text);
    status = ctl_change(args, "reload", &p->w.f);
    if (status == NULL)
        return ctl_fail("written, but not in force: %s", p->w.f.text);
    json_decref(status);
    for (unsigned i = 0; i < WAIT_TRIES; i++) {
        if (is_in_force(p)) {
            printf("in force: version %s, epoch %u, sha256 %s\n", p->policy->version,
                   p->policy->epoch, p->hash);
            return CTL_OK;
        }
        (void)nanosleep(&pause, NULL);
    }
    return ctl_fail("written and served, but not on record yet: see consentctl ledger status and "
                    "the log");
}

static bool hash_file(struct publication *p)
{
    struct buf text;
    bool ok;

    buf_init(&text, POLICY_TEXT_MAX);
    ok = file_read(p->file, POLICY_TEXT_MAX, &text, &p->w.f);
    if (ok)
        crypto_sha256(text.data, text.len, p->file_hash);
    buf_free(&text);
    return ok;
}

int cmd_policy_publish(struct ctl_args *args)
{
    const char *site = NULL;
    struct publication p = {.file = NULL};
    const struct ctl_option options[] = {{"--site", &site, NULL},
                                         {"--same-epoch", NULL, &p.same_epoch},
                                         {"--yes", NULL, &p.yes},
                                         {"", &p.file, NULL}};
    int differs, status = CTL_OK;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (p.file == NULL) {
        (void)ctl_fail("policy publish FILE");
        return CTL_USAGE;
    }
    if (work_begin(&p.w, args, site) && hash_file(&p))
        p.policy = ctl_load_notice(p.w.config, p.w.site, p.file, &p.w.f);
    if (p.policy == NULL) {
        status = ctl_fail("%s", p.w.f.text);
    } else {
        hex_encode(p.hash, p.policy->doc_hash, sizeof(p.policy->doc_hash));
        differs = compare(&p);
        if (differs < 0)
            status = ctl_fail("%s", p.w.f.text);
        else if (differs > 0 && !confirmed(p.yes))
            status = ctl_fail("nothing was published");
        else if (differs > 0)
            status = bring_into_force(&p, args);
    }
    policy_free(p.policy);
    work_end(&p.w);
    return status;
}
