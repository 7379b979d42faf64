/*
 * ctl_priv.h - what the sub-commands of consentctl share. layer: ctl
 *
 * A command is a row of the table in main.c: its words, its options for --help, one line of doc and
 * a function. Options are read with ctl_options(): a command names those it takes, everything
 * else is an error that says so.
 */
#ifndef CONSENTD_CTL_PRIV_H
#define CONSENTD_CTL_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "consentd/buf.h"
#include "consentd/category.h"
#include "consentd/fault.h"
#include "consentd/json.h"
#include "consentd/redis.h"
#include "consentd/rules.h"

#define CTL_CONFIG_DEFAULT "/etc/consentd/consentd.json"
#define CTL_ANSWER_MAX     (16u << 20) /* bytes of one answer of the admin */

/* What the shell gets. */
enum ctl_exit {
    CTL_OK = 0,
    CTL_FAILED = 1, /* the thing asked about is not as it should be, or was refused */
    CTL_USAGE = 2,  /* the command line is wrong */
};

/* The command line behind the command's words. */
struct ctl_args {
    int argc;
    char **argv;
    const char *config; /* from -c before the command, or the default */
};

struct ctl_command {
    const char *words;   /* "rules match" */
    const char *options; /* as --help shows them */
    const char *doc;     /* one line */
    int (*run)(struct ctl_args *args);
};

/* One option that a command takes. */
struct ctl_option {
    const char *name;   /* "--rules", or "" for a word without dashes (in order) */
    const char **value; /* set to the word that follows; NULL for a flag */
    bool *flag;         /* set to true; NULL for an option with a value */
};

/*
 * Reads all of args; false, with a message on stderr, for what is not among them, is there twice or
 * has no value. At most 64.
 */
MUST_USE bool ctl_options(const struct ctl_args *args, const struct ctl_option *options,
                          size_t cnt);

/* Text from elsewhere: what would steer a terminal is written as \xNN. */
void ctl_put(FILE *to, const char *text);

/* "consentctl: <formatted>" on stderr, by ctl_put; returns CTL_FAILED. */
int ctl_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);

/*
 * Compiles all sets of dir/sets for one site with these hosts. dir NULL: the folder that the
 * configuration names, else the installed one. NULL with the reason.
 */
MUST_USE struct rules *ctl_load_rules(const struct ctl_args *args, const char *dir,
                                      const char *const *hosts, size_t host_cnt, struct fault *f);

/* All sets of folder/sets for the sites of `input`. NULL with the reason. */
MUST_USE struct rules *ctl_compile_rules(const char *folder, const struct rules_input *input,
                                         struct fault *f);

/*
 * The policy in `file` (NULL: the one that the configuration names) with the notice document that
 * consentd would make of it for site number `site`: notice_load.c. NULL with the reason.
 */
struct config;
struct policy;
MUST_USE struct policy *ctl_load_notice(const struct config *config, size_t site, const char *file,
                                        struct fault *f);

/* The folder that dir NULL stands for above. Heap. */
MUST_USE char *ctl_rules_folder(const struct ctl_args *args, const char *dir);

/*
 * One request to the admin (consentd/admin.h) over the socket that the configuration names. out
 * gets the body of a success. False with the reason for any other answer, or none.
 */
MUST_USE bool ctl_ask(const struct ctl_args *args, const char *method, const char *target,
                      struct str body, struct buf *out, struct fault *f);

/* The same as JSON; NULL with the reason. The caller owns it. */
MUST_USE json_t *ctl_ask_json(const struct ctl_args *args, const char *method, const char *target,
                              struct fault *f);

/*
 * Asks for a "reload" or an "upgrade" and waits for what becomes of it. The status after it, which
 * the caller owns; NULL with the reason: not asked, refused, or not through in time.
 */
MUST_USE json_t *ctl_change(const struct ctl_args *args, const char *what, struct fault *f);

/* "?name=value" or "&name=value", escaped. */
MUST_USE bool ctl_target_add(struct buf *target, const char *name, struct str value);

/* The admin's socket, connected; reads give up after wait_s. -1 with the reason. */
MUST_USE int ctl_dial(const struct ctl_args *args, unsigned wait_s, struct fault *f);
MUST_USE bool ctl_send_request(int fd, const char *method, const char *target, struct str body);

/* The reason in the body of an answer that is no 200. */
void ctl_fault_from(struct str status, struct str body, struct fault *f);

/* A long answer as it comes. False ends it. */
struct ctl_stream_ops {
    bool (*on_data)(void *arg, struct str data);
    bool (*on_chunk)(void *arg, struct str cursor); /* a chunk is whole; its cursor or empty */
};
enum ctl_stream_end { CTL_STREAM_CUT = 0, CTL_STREAM_REFUSED, CTL_STREAM_STOPPED, CTL_STREAM_DONE };
MUST_USE enum ctl_stream_end ctl_stream(const struct ctl_args *args, const char *target,
                                        const struct ctl_stream_ops *ops, void *arg,
                                        struct fault *f);

/* A subject's id: given as such, with "s_" before it, or inside a cookie. False: it is none. */
#define CTL_SUBJECT_LEN 22 /* characters */
MUST_USE bool ctl_subject_of(const char *text, char out[CTL_SUBJECT_LEN + 1]);

/* As file_write_atomic, but never in place of a folder or a device. */
MUST_USE bool ctl_write_file(const char *file, struct str text, struct fault *f);

/* The list of erasures of this configuration; NULL with the reason. */
struct config;
struct erased;
MUST_USE struct erased *ctl_erased(const struct config *config, struct fault *f);

/* How to reach the ledger's Redis; config borrows from the buffers. */
struct ctl_redis {
    struct rlink_config config;
    struct buf password, ca;
};

/* False with the reason; ctl_redis_free in any case. */
MUST_USE bool ctl_redis_config(const struct config *config, struct ctl_redis *out, struct fault *f);
void ctl_redis_free(struct ctl_redis *redis);

/* 2026-11-01 or 2026-11-01T00:00:00Z, as Unix ms; NULL leaves *ms_out. False: something else. */
MUST_USE bool ctl_time(const char *text, uint64_t *ms_out);

/* The commands; a file per group. */
int cmd_status(struct ctl_args *args);
int cmd_reload(struct ctl_args *args);
int cmd_upgrade(struct ctl_args *args);
int cmd_metrics(struct ctl_args *args);
int cmd_rules_check(struct ctl_args *args);
int cmd_rules_test(struct ctl_args *args);
int cmd_rules_match(struct ctl_args *args);
int cmd_rules_list(struct ctl_args *args);
int cmd_rules_set(struct ctl_args *args);
int cmd_rules_history(struct ctl_args *args);
int cmd_rules_rollback(struct ctl_args *args);
int cmd_config_check(struct ctl_args *args);
int cmd_config_reference(struct ctl_args *args);
int cmd_keys_init(struct ctl_args *args);
int cmd_keys_list(struct ctl_args *args);
int cmd_filter(struct ctl_args *args);
int cmd_scan(struct ctl_args *args);
int cmd_unsubscribe_check(struct ctl_args *args);
int cmd_unsubscribe_export(struct ctl_args *args);
int cmd_unsubscribe_filter(struct ctl_args *args);
int cmd_unsubscribe_link(struct ctl_args *args);
int cmd_policy_check(struct ctl_args *args);
int cmd_policy_diff(struct ctl_args *args);
int cmd_policy_publish(struct ctl_args *args);
int cmd_policy_show(struct ctl_args *args);
int cmd_subject_erase(struct ctl_args *args);
int cmd_subject_hold(struct ctl_args *args);
int cmd_subject_release(struct ctl_args *args);
int cmd_subject_erasures(struct ctl_args *args);
int cmd_audit_query(struct ctl_args *args);
int cmd_audit_get(struct ctl_args *args);
int cmd_audit_stats(struct ctl_args *args);
int cmd_audit_export(struct ctl_args *args);
int cmd_audit_oplog(struct ctl_args *args);
int cmd_subject_show(struct ctl_args *args);
int cmd_subject_export(struct ctl_args *args);
int cmd_doc_list(struct ctl_args *args);
int cmd_doc_show(struct ctl_args *args);
int cmd_doc_diff(struct ctl_args *args);
int cmd_audit_verify(struct ctl_args *args);
int cmd_audit_prove(struct ctl_args *args);
int cmd_audit_verify_proof(struct ctl_args *args);
int cmd_ledger_retention(struct ctl_args *args);
int cmd_ledger_vkey(struct ctl_args *args);
int cmd_ledger_status(struct ctl_args *args);

#endif
