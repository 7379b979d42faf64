/*
 * main.c - the program's arguments: the master, a check of the configuration, or one of
 * the roles that the master starts.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/ceiling.h"
#include "consentd/config.h"
#include "consentd/residue.h"
#include "upgrade_priv.h"

#define DEFAULT_CONFIG "/etc/consentd/consentd.json"

enum { OPT_ROLE = 256, OPT_SLOT, OPT_ROW, OPT_VERSION, OPT_HELP };

static const struct option OPTIONS[] = {
    {"config", required_argument, NULL, 'c'},
    {"test", no_argument, NULL, 't'},
    {"foreground", no_argument, NULL, 'f'},
    {"role", required_argument, NULL, OPT_ROLE},
    {"slot", required_argument, NULL, OPT_SLOT},
    {"row", required_argument, NULL, OPT_ROW},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static const char USAGE[] =
    "consentd - a reverse proxy that enforces consent\n"
    "\n"
    "usage: consentd [-c FILE] [-t]\n"
    "\n"
    "  -c, --config FILE   the configuration (default " DEFAULT_CONFIG ")\n"
    "  -t, --test          check it and all it names, say what is wrong, and exit\n"
    "  -f, --foreground    stay in the foreground; that is what it always does\n"
    "      --version       print the version\n"
    "      --help          print this\n"
    "\n"
    "SIGHUP: check the configuration again and bring it into force without failing a\n"
    "request. SIGUSR1: open the logs again. SIGUSR2: go on as the program file that is\n"
    "there now. SIGTERM: finish and stop; a second one: at once.\n";

struct arguments {
    const char *config;
    bool test;
    const char *role; /* NULL: the master */
    const char *argv0;
    unsigned slot, row;
};

static int check(const char *path)
{
    struct fault why = {0};
    int inherited = upgrade_inherited();
    struct material *m = NULL;
    struct ceiling ceiling;
    char text[CEILING_TEXT_MAX];

    if (inherited < 0 || upgrade_check(inherited, &why))
        m = material_load(path, &why);
    if (m == NULL) {
        fprintf(stderr, "consentd: %s\n", why.text);
        return 1;
    }
    printf("%s: good (%zu %s, %zu %s)\n", path, m->config->site_cnt,
           m->config->site_cnt == 1 ? "site" : "sites", m->config->listen_cnt,
           m->config->listen_cnt == 1 ? "listener" : "listeners");
    ceiling_of(m->config, seats_workers(m->config), &ceiling);
    printf("memory: %s\n", ceiling_text(&ceiling, text));
    material_free(m);
    return 0;
}

static int run(const struct arguments *args)
{
    if (args->role == NULL)
        return args->test ? check(args->config) : master_main(args->config, args->argv0);
    if (strcmp(args->role, "worker") == 0)
        return worker_main(args->slot, args->row);
    if (strcmp(args->role, "ledger") == 0)
        return ledger_main(args->slot);
    if (strcmp(args->role, "admin") == 0)
        return admin_main(args->slot);
    fprintf(stderr, "consentd: there is no role \"%s\"\n", args->role);
    return 2;
}

int main(int argc, char **argv)
{
    struct arguments args = {.config = DEFAULT_CONFIG, .argv0 = argv[0]};
    uint64_t number;
    int opt;

    residue_heap();
    while ((opt = getopt_long(argc, argv, "c:tf", OPTIONS, NULL)) != -1) {
        switch (opt) {
        case 'c':
            args.config = optarg;
            break;
        case 't':
            args.test = true;
            break;
        case 'f':
            break;
        case OPT_ROLE:
            args.role = optarg;
            break;
        case OPT_SLOT:
            if (!str_to_u64(str_c(optarg), PROC_SLOTS - 1, &number))
                return 2;
            args.slot = (unsigned)number;
            break;
        case OPT_ROW:
            if (!str_to_u64(str_c(optarg), SEATS_MAX, &number))
                return 2;
            args.row = (unsigned)number;
            break;
        case OPT_VERSION:
            printf("consentd %s\n", CONSENTD_VERSION);
            return 0;
        case OPT_HELP:
            fputs(USAGE, stdout);
            return 0;
        default:
            fputs("consentd: try --help\n", stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "consentd: unexpected argument \"%s\"\n", argv[optind]);
        return 2;
    }
    return run(&args);
}
