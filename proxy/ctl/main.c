/*
 * main.c - consentctl: finds the command and runs it.
 *
 *   consentctl [-c FILE] WORDS… [OPTIONS…]
 *
 * Exit status: 0 done, 1 refused or not as it should be, 2 the command line is wrong. Commands of
 * verification have others (consentd/verify.h). What standard output did not take is no answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/mem.h"
#include "consentd/str.h"
#include "consentd/verify.h"
#include "ctl_priv.h"

static const struct ctl_command commands[] = {
    {"status", "[-o table|json | --json]", "what the running consentd does", cmd_status},
    {"reload", "", "check the configuration and bring it into force; exit 1: refused", cmd_reload},
    {"upgrade", "", "go on as the program file that is installed now; exit 1: refused",
     cmd_upgrade},
    {"metrics", "", "its counters, for Prometheus", cmd_metrics},
    {"rules list", "[--json]", "every rule set with its mode", cmd_rules_list},
    {"rules set", "NAME enforce|report|off|config [--site NAME]", "switch a rule set, live",
     cmd_rules_set},
    {"rules history", "[--json]", "who switched what, when and from where", cmd_rules_history},
    {"rules rollback", "REVISION", "restore the modes of an earlier revision", cmd_rules_rollback},
    {"rules check", "[--rules DIR]", "read all rule sets; contradictions are errors",
     cmd_rules_check},
    {"rules test", "[--rules DIR]", "try the examples of DIR/tests", cmd_rules_test},
    {"rules match",
     "--cookie NAME | --url URL | --inline FILE | --amp \"ELEMENT TYPE\" [--rules DIR] "
     "[--consent LIST]",
     "which rule matches, and why", cmd_rules_match},
    {"config check", "", "read the configuration", cmd_config_check},
    {"config reference", "[--man]", "every key with type, range, default and meaning",
     cmd_config_reference},
    {"policy check", "[FILE] [--site NAME]", "read a policy as publishing it would",
     cmd_policy_check},
    {"policy show", "[DOCUMENT] [--site NAME]",
     "the notices that were in force, or one of them; DOCUMENT: the beginning of its hash",
     cmd_policy_show},
    {"policy diff", "FILE | OLD NEW [--site NAME] [--json]",
     "what is different from the notice in force, or between two; what of it asks people again",
     cmd_policy_diff},
    {"policy publish", "FILE [--site NAME] [--same-epoch] [--yes]",
     "check a policy, show what changes, record it, bring it into force", cmd_policy_publish},
    {"keys init", "FILE", "make a key file; an existing one is left alone", cmd_keys_init},
    {"keys list", "FILE", "the keys of a file, without their bytes", cmd_keys_list},
    {"audit query",
     "[--from T] [--to T] [--act A] [--purpose P] [--granted yes|no] [--sub S] [--pe N]\n"
     "      [--doc D] [--lang L] [--jur J] [--host H] [--gpc yes|no] [--kind "
     "event|notice|operator]\n"
     "      [--order newest|oldest] [--limit N] [--cursor C] [-o table|jsonl|csv]\n"
     "      [--direct | --journal]",
     "who consented to what, when, to which text; by way of the running consentd, or else from\n"
     "      Redis (--direct) or the journal (--journal). T: 2026-11-01 or 2026-11-01T00:00:00Z",
     cmd_audit_query},
    {"audit oplog", "[the filters of audit query] [-o table|jsonl|csv] [--direct | --journal]",
     "what operators changed and read, and what was denied", cmd_audit_oplog},
    {"audit get", "NODE:LEAF [-o table|jsonl|csv] [--direct | --journal]", "one record",
     cmd_audit_get},
    {"audit stats",
     "[--by day|lang|notice|method] [the filters of audit query] [--suppress]\n"
     "      [-o table|jsonl|csv] [--direct | --journal]",
     "how often the banner was shown (by the running consentd, whole days), decisions,\n"
     "      withdrawals, opt-in per purpose; --suppress: no figure below 10, for what is published",
     cmd_audit_stats},
    {"audit export",
     "[--format jsonl|csv|dpv] [--disclose] [--partial] [--out FILE [--vkey KEY]]\n"
     "      [the filters of audit query]",
     "all records with a signed manifest; a second run goes on where the first was cut;\n"
     "      --partial: while Redis is away, those that the journal holds",
     cmd_audit_export},
    {"audit verify-proof", "FILE --vkey KEY [--commitment HEX]",
     "check a proof with nothing but the log's public key; exit 1: it proves nothing",
     cmd_audit_verify_proof},
    {"audit verify", "[--deep] [--from TIME] [--to TIME] [--running | --offline DIR --vkey KEY]",
     "the log against its signature, the journal against the log; exit 1: changed, 2: incomplete;\n"
     "      --running: by the running consentd, for who may not read its files",
     cmd_audit_verify},
    {"audit prove", "NODE:LEAF [--disclose]",
     "a proof (C2SP tlog-proof) that a record is in the signed log", cmd_audit_prove},
    {"subject show", "SUBJECT|COOKIE [-o table|jsonl|csv]", "all records of one subject",
     cmd_subject_show},
    {"subject export", "SUBJECT|COOKIE [--format json|dpv|csv] [--out FILE]",
     "one subject's records with their proofs, or as a receipt of ISO/IEC TS 27560",
     cmd_subject_export},
    {"doc list", "", "the notices that were in force, and since when", cmd_doc_list},
    {"doc show", "ID [--out FILE]", "one notice, byte for byte as it was hashed", cmd_doc_show},
    {"doc diff", "OLD NEW", "what changed between two notices", cmd_doc_diff},
    {"subject erase", "SUBJECT|COOKIE [--now] [--yes] [--json]",
     "make one subject's records unreadable, refuse its cookie; prints the receipt",
     cmd_subject_erase},
    {"subject hold", "SUBJECT|COOKIE [--json]",
     "legal hold: an erasure takes the cookie and the index, not the records", cmd_subject_hold},
    {"subject release", "SUBJECT|COOKIE [--json]", "end a legal hold; what was asked is done now",
     cmd_subject_release},
    {"subject erasures", "", "the erasures so far and how far they are", cmd_subject_erasures},
    {"unsubscribe link", "ADDRESS LIST [--site NAME]",
     "the header fields of a mail that let its reader leave LIST with one click (RFC 8058)",
     cmd_unsubscribe_link},
    {"unsubscribe check", "ADDRESS LIST", "exit 1: the address has left the list",
     cmd_unsubscribe_check},
    {"unsubscribe filter", "LIST",
     "addresses on stdin, one a line; on stdout those that may get mail", cmd_unsubscribe_filter},
    {"unsubscribe export", "[LIST]", "who has left, as JSON lines, by the keyed tag of the address",
     cmd_unsubscribe_export},
    {"ledger retention", "[--drop] [--yes]",
     "which months there are and when each may go; --drop: destroys those that are due",
     cmd_ledger_retention},
    {"ledger vkey", "", "the public keys that sign the log", cmd_ledger_vkey},
    {"ledger status", "", "what the journal and Redis hold", cmd_ledger_status},
    {"scan",
     "URL [--out DIR] [--state LIST] [--direct-only] [--origin URL] [--proxy HOST:PORT]\n"
     "      [--json] [--rules DIR] [--insecure] [--map RULES] [--chromium FILE]",
     "a page in Chromium: what it requests, sets and stores in each state of consent", cmd_scan},
    {"filter", "--rules DIR --consent LIST --url URL [--chunk N] [--no-banner] [--report]",
     "HTML on stdin, rewritten on stdout, by the proxy's own engine", cmd_filter},
};

static bool is_of_group(const struct ctl_command *c, const char *group)
{
    struct str rest = str_c(c->words), word;

    return str_cut(&rest, ' ', &word) && rest.ptr != NULL && str_eq_c(word, group);
}

/* All commands, or those of a group such as "rules"; how many there are. */
static size_t print_commands(FILE *to, const char *group)
{
    size_t cnt = 0;

    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        const struct ctl_command *c = &commands[i];

        if (group != NULL && !is_of_group(c, group))
            continue;
        fprintf(to, "  %s%s%s\n      %s\n", c->words, c->options[0] != '\0' ? " " : "", c->options,
                c->doc);
        cnt++;
    }
    return cnt;
}

static void print_usage(FILE *to)
{
    fprintf(to, "consentctl " CONSENTD_VERSION ": operates consentd and reads its ledger.\n\n"
                "usage: consentctl [-c FILE] COMMAND [OPTIONS]\n\n");
    print_commands(to, NULL);
    fprintf(to,
            "\n-c FILE: the configuration, " CTL_CONFIG_DEFAULT " by default.\n"
            "COMMAND --help: its options. Exit status: 0 done, 1 refused or failed, 2 usage.\n");
}

static void print_command(const struct ctl_command *c)
{
    printf("usage: consentctl %s%s%s\n%s.\n", c->words, c->options[0] != '\0' ? " " : "",
           c->options, c->doc);
}

/* How many of argv the command's words take; 0 when they are others. */
static int words_match(const char *words, int argc, char **argv)
{
    struct str rest = str_c(words), word;
    int cnt = 0;

    while (str_cut(&rest, ' ', &word)) {
        if (cnt >= argc || !str_eq_c(word, argv[cnt]))
            return 0;
        cnt++;
    }
    return cnt;
}

/* "rules" or "rules --help": what there is of it; anything else: what was probably meant. */
static int without_command(const struct ctl_args *args)
{
    const char *names[COUNT_OF(commands)];
    const char *second = args->argc > 1 ? args->argv[1] : "";
    const char *near;
    char words[64];
    bool help = strcmp(second, "--help") == 0;

    if ((second[0] == '\0' || help) && print_commands(help ? stdout : stderr, args->argv[0]) > 0)
        return help ? CTL_OK : CTL_USAGE;
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        names[i] = commands[i].words;
    (void)snprintf(words, sizeof(words), "%s%s%s", args->argv[0],
                   second[0] != '\0' && second[0] != '-' ? " " : "",
                   second[0] != '-' ? second : "");
    near = str_nearest(str_c(words), names, COUNT_OF(commands));
    (void)ctl_fail("no command \"%s\"%s%s%s; see consentctl --help", words,
                   near != NULL ? ", did you mean \"" : "", near != NULL ? near : "",
                   near != NULL ? "\"" : "");
    return CTL_USAGE;
}

/* The status of an answer that got lost: of verification 1 says that something was changed. */
static int lost(const struct ctl_command *c)
{
    if (c->run == cmd_audit_verify)
        return VERIFY_INCOMPLETE;
    return c->run == cmd_audit_verify_proof ? (int)VERIFY_USAGE : (int)CTL_FAILED;
}

/* What the shell gets; `if_lost` when standard output did not take all that was printed. */
static int printed(int status, int if_lost)
{
    bool bad = ferror(stdout) != 0;

    errno = 0;
    if (fflush(stdout) == 0 && !bad)
        return status;
    (void)ctl_fail("standard output: %s", errno != 0 ? strerror(errno) : "could not be written");
    return status == CTL_OK ? if_lost : status;
}

static int run(struct ctl_args *args)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        int cnt = words_match(commands[i].words, args->argc, args->argv);

        if (cnt == 0)
            continue;
        args->argc -= cnt;
        args->argv += cnt;
        if (args->argc > 0 && strcmp(args->argv[0], "--help") == 0) {
            print_command(&commands[i]);
            return printed(CTL_OK, CTL_FAILED);
        }
        return printed(commands[i].run(args), lost(&commands[i]));
    }
    return printed(without_command(args), CTL_FAILED);
}

/* The number of the option with this name, or of the next word without dashes; cnt: none. */
static size_t option_find(const struct ctl_option *options, size_t cnt, const char *dashed,
                          size_t word)
{
    size_t at = 0, words = 0;

    while (at < cnt && (dashed != NULL ? strcmp(options[at].name, dashed) != 0
                                       : options[at].name[0] != '\0' || words++ < word))
        at++;
    return at;
}

bool ctl_options(const struct ctl_args *args, const struct ctl_option *options, size_t cnt)
{
    size_t word = 0;   /* words without dashes so far */
    uint64_t seen = 0; /* options that were there, by number */

    ASSERT(cnt <= 64);

    for (int i = 0; i < args->argc; i++) {
        bool dashed = args->argv[i][0] == '-' && args->argv[i][1] != '\0';
        size_t at = option_find(options, cnt, dashed ? args->argv[i] : NULL, word);

        if (at == cnt) {
            (void)ctl_fail("\"%s\" is not expected here; see --help", args->argv[i]);
            return false;
        }
        if (options[at].flag != NULL) {
            *options[at].flag = true;
            continue;
        }
        if ((seen & UINT64_C(1) << at) != 0) {
            (void)ctl_fail("%s is given twice", args->argv[i]);
            return false;
        }
        seen |= UINT64_C(1) << at;
        if ((dashed && ++i == args->argc) || args->argv[i][0] == '\0') {
            (void)ctl_fail("%s%s; see --help", dashed ? options[at].name : "an argument",
                           dashed ? " needs a value" : " is empty");
            return false;
        }
        word += dashed ? 0 : 1;
        *options[at].value = args->argv[i];
    }
    return true;
}

/* Bytes of the character that begins here; 0: none does. */
static size_t utf8_len(const uint8_t *p)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;

    if ((p[0] >= 0x80 && p[0] < 0xc2) || p[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

void ctl_put(FILE *to, const char *text)
{
    for (const uint8_t *p = (const uint8_t *)text; *p != '\0'; p++) {
        bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0; /* controls in UTF-8 */
        size_t len = utf8_len(p);

        if (c1 || len == 0 || (*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7f) {
            (void)fprintf(to, "\\x%02x", (unsigned)*p);
        } else {
            (void)fwrite(p, 1, len, to);
            p += len - 1;
        }
    }
}

int ctl_fail(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    fputs("consentctl: ", stderr);
    ctl_put(stderr, text != NULL ? text : fmt);
    fputc('\n', stderr);
    free(text);
    return CTL_FAILED;
}

/* A file that is opened later must not become what is printed to. */
static void open_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd)
            exit(CTL_FAILED); /* reading alone: what is printed there fails, and is said */
}

int main(int argc, char **argv)
{
    struct ctl_args args = {.argc = argc - 1, .argv = argv + 1, .config = CTL_CONFIG_DEFAULT};

    open_standard();
    if (args.argc > 0 && strcmp(args.argv[0], "-c") == 0 &&
        (args.argc == 1 || args.argv[1][0] == '\0')) {
        (void)ctl_fail("-c needs a file: the configuration");
        return CTL_USAGE;
    }
    if (args.argc >= 2 && (strcmp(args.argv[0], "-c") == 0)) {
        args.config = args.argv[1];
        args.argc -= 2;
        args.argv += 2;
    }
    if (args.argc == 0) {
        print_usage(stderr);
        return CTL_USAGE;
    }
    if (strcmp(args.argv[0], "--help") == 0 || strcmp(args.argv[0], "help") == 0) {
        print_usage(stdout);
        return printed(CTL_OK, CTL_FAILED);
    }
    if (strcmp(args.argv[0], "--version") == 0) {
        puts("consentctl " CONSENTD_VERSION);
        return printed(CTL_OK, CTL_FAILED);
    }
    return run(&args);
}
