/*
 * master_priv.h - the master's state, and what its files share. layer: proc
 *
 *   master.c     the loop: signals, start, stop
 *   children.c   seats and children: spawn, respawn with back-off, wire, reap
 *   reload.c     a new generation beside the old one, or the old one again
 *   cert_watch.c, names_watch.c   files that others change
 *   upgrade.c    another program file in place of this one (upgrade_priv.h)
 */
#ifndef CONSENTD_MASTER_PRIV_H
#define CONSENTD_MASTER_PRIV_H

#include "consentd/timer.h"
#include "proc_priv.h"

struct upgrade;

enum child_state {
    CHILD_STARTING = 0, /* executed; READY not seen */
    CHILD_READY,        /* serves */
    CHILD_DRAINING,     /* was told to finish */
};

struct child {
    struct master *master;
    struct seat *seat; /* NULL: of an old generation, not to be replaced */
    enum ipc_role role;
    enum child_state state;
    unsigned slot;   /* of the metrics; also its number in logs */
    pid_t pid;       /* 0: this entry is free */
    struct ipc *ipc; /* owned; NULL once closed */
    uint64_t started_ms;
    uint64_t generation;
    uint64_t requests_before; /* see struct metrics_owner */
    bool rules_done;          /* it has confirmed the change of rules that was sent last */
    uint64_t drain_ms;        /* when it was told to finish */
    int seat_no;              /* that it had before the swap, for when that fails; -1 */
    struct timer deadline;    /* drain timeout + grace: SIGKILL */
};

/* A place that the current generation wants filled. */
struct seat {
    struct master *master;
    enum ipc_role role;
    struct child *child; /* NULL: nobody sits here now */
    uint64_t backoff_ms;
    struct timer respawn;
};

#define SEATS_MAX    130 /* 128 workers, and the others, which come first */
#define SEATS_OTHERS 2   /* the ledger, the admin */

struct listening {
    char *address; /* owned */
    int fd;
};

struct master {
    struct loop *loop;
    const char *config_path;
    struct material *material;
    struct material *before; /* owned; in force again if the swap fails; NULL: not swapping */
    struct privs privs;
    int metrics_fd;
    struct seat seats[SEATS_MAX];
    unsigned seat_cnt;
    struct child children[PROC_SLOTS];
    struct listening *listens; /* owned; as config->listens, then those kept */
    size_t listen_cnt;
    size_t listen_kept;     /* what only the configuration before has, until the swap is done */
    int admin_fd;           /* the operators' socket */
    char *admin_socket;     /* owned; its path */
    struct listening watch; /* health and metrics over TCP; address NULL: none */
    struct listening watch_before; /* kept likewise, where watch_moved */
    bool watch_moved;
    char *rules_text; /* owned; the rule state in force, NULL: none yet */
    size_t rules_len;
    uint64_t rules_revision;
    uint64_t rules_request; /* the admin's number of the change that is being confirmed */
    unsigned rules_asked, rules_confirmed; /* workers */
    uint64_t generation;                   /* of the children that are started */
    bool swapping;          /* a new generation is starting; old workers still serve */
    unsigned swap_deaths;   /* of the new generation, meanwhile */
    struct timer swap_over; /* it has had its time */
    bool again[3];          /* by enum ipc_change: asked for meanwhile, done next */
    bool stopping;
    struct upgrade *upgrade; /* owned; see upgrade_priv.h */
    struct ipc_outcome outcome;
    char outcome_why[FAULT_TEXT_MAX]; /* "" when it was done */
    struct timer certs_timer;
    uint64_t certs_last, certs_loaded; /* of the files: the last look, and those in force */
    struct timer names_timer;
    uint64_t names_seen[2]; /* by enum ipc_names_file */
};

/* master.c: what the configuration in force can come to need, as a line of the log */
void master_say_ceiling(const struct master *m);

/* cert_watch.c */
void certs_watch(struct master *m);
void certs_tried(struct master *m); /* the files as they are now are going to be read */
void certs_seen(struct master *m);  /* what m->material was made of is in force */

/* names_watch.c */
void names_watch(struct master *m);

/* children.c */
void seats_fill(struct master *m);    /* starts whoever is missing */
void children_reap(struct master *m); /* after SIGCHLD */
void child_drain(struct child *c);    /* tells it to finish */
unsigned children_count(const struct master *m, enum ipc_role role);
unsigned children_send_rules(struct master *m, uint64_t request); /* how many got them */
void seats_set(struct master *m); /* seats as the configuration says */

/* A process that another program of this master started; fd: to it. False: its slot is taken. */
MUST_USE bool child_adopt(struct master *m, const struct child *as, int fd);

/* Those that were told to finish before this program began have no more time than they had. */
void children_deadlines(struct master *m);

void child_show(const struct child *c); /* as it is by now, to consentctl status */

/* Whether all seats of the role are taken by processes that serve. */
MUST_USE bool seats_ready(const struct master *m, enum ipc_role role);

/* sockets.c */
MUST_USE bool watch_open(struct master *m, const struct config *c, struct fault *f);
MUST_USE bool admin_socket_open(struct master *m, const struct config *c, const struct privs *p,
                                struct fault *f);
MUST_USE bool listens_open(struct master *m, const struct config *c, struct listening **out,
                           struct fault *f);
/* These sockets instead of those so far, which are kept for the way back. */
void listens_set(struct master *m, struct listening *listens, size_t cnt);
void sockets_drop_kept(struct master *m); /* there is no way back any more */
void watch_restore(struct master *m);     /* the address of the configuration before */

/* reload.c */
void master_reload(struct master *m);
MUST_USE bool reload_start(struct master *m, struct material *fresh, struct fault *f);
void reload_progress(struct master *m); /* a child became ready or died */
MUST_USE bool reload_must_wait(struct master *m, enum ipc_change what);       /* remembered if so */
void reload_outcome(struct master *m, enum ipc_change what, const char *why); /* NULL: done */
void reload_init(struct master *m);
void outcome_send(const struct master *m, const struct child *admin); /* the last one, if any */

/* m->material is the one before: its sockets and its generation again; new processes go. */
MUST_USE bool reload_resume(struct master *m, struct fault *f);

/* master.c */
MUST_USE bool master_load_rules(struct master *m, const struct config *c, struct fault *f);
void master_stop(struct master *m);
void master_stop_step(struct master *m); /* a child is gone while stopping */
void master_message(struct child *c, uint16_t type, const void *data, size_t len, int fd);

void logs_reopen(struct master *m); /* logs.c: after SIGUSR1, for all of us */

#endif
