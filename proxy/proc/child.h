/*
 * child.h - what every role shares: descriptors 3 to 5, the control link, privileges.
 *
 *   fd 3  control link to the master (ipc.h)    fd 4  bundle    fd 5  metrics
 */
#ifndef CONSENTD_CHILD_H
#define CONSENTD_CHILD_H

#include <stdbool.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "generation.h"

#define CHILD_FD_CONTROL 3
#define CHILD_FD_BUNDLE  4
#define CHILD_FD_METRICS 5
#define CHILD_SLOTS      68 /* metrics slots: master, ledger, admin and 64 workers, plus one */
#define CHILD_WORKERS    64

/* A worker, and the ledger: start from the descriptors, run, return the exit status. */
int worker_main(unsigned slot);
int ledger_main(unsigned slot);

/* The master: runs until it is told to stop. */
int master_main(const char *config_path);

/* Loads the bundle of fd 4, opens the log as "role/slot", attaches the counters. */
MUST_USE struct generation *child_begin(const char *role, unsigned slot);

/* To the configured user and group; nothing to do when not root. */
MUST_USE bool privileges_drop(const struct config *config, struct fault *f);

#endif
