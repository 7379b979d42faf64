/*
 * ledger_fixture.h - an event with fixed values and a temporary directory, for ledger tests.
 */
#ifndef TEST_LEDGER_FIXTURE_H
#define TEST_LEDGER_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "consentd/crypto.h"
#include "consentd/record.h"

static const char *const fixture_names[RECORD_PURPOSES] = {"essential", "analytics", "marketing"};

static inline void fixture_fill(uint8_t *p, uint8_t first, int step, size_t len)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(first + step * (int)i);
}

/* The event of the published vectors. */
static inline struct consent_event fixture_event(void)
{
    struct consent_event ev = {.ts_ms = 1795470842549,
                               .expires_s = 1811022842,
                               .epoch = 7,
                               .act = CONSENT_CUSTOM,
                               .type = CONSENT_EXPLICIT,
                               .by = CONSENT_BY_SUBJECT,
                               .grant = 1 << 1 | 1,
                               .deny = 1 << 2,
                               .has_prev = true,
                               .prev_node = 1,
                               .prev_leaf = 1048001};
    uint8_t hash[32];

    ev.method = STR("banner.save");
    ev.lang = STR("en");
    ev.jurisdiction = STR("EU");
    ev.host = STR("www.netstreem.com");
    fixture_fill(ev.eid, 0x40, 1, 16);
    fixture_fill(ev.subject, 0xa0, 1, 16);
    crypto_sha256("notice", 6, hash);
    memcpy(ev.doc, hash, 16);
    return ev;
}

static inline void fixture_dir(char out[64])
{
    (void)snprintf(out, 64, "/tmp/consentd-test-XXXXXX");
    if (mkdtemp(out) == NULL)
        abort();
}

static inline void fixture_remove(const char *dir)
{
    char command[128];
    char *const argv[] = {(char[]){"rm"}, (char[]){"-rf"}, command, NULL};
    pid_t pid;

    (void)snprintf(command, sizeof(command), "%s", dir);
    pid = fork();
    if (pid == 0) {
        (void)execv("/bin/rm", argv);
        _exit(127);
    }
    (void)waitpid(pid, NULL, 0);
}

#endif
