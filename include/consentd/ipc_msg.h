/*
 * ipc_msg.h - every message between our processes, in one list. layer: net
 *
 * The payload of each type is fixed by the struct or the module named beside it; the
 * receiver checks the length before it reads a field (ipc_msg_is_sane for the fixed ones,
 * the decoder of the module for the others). A type that is not listed for the
 * receiving role is a bug of ours and closes the link.
 */
#ifndef CONSENTD_IPC_MSG_H
#define CONSENTD_IPC_MSG_H

#include <stdint.h>

/*
 * What the processes of two versions must agree on while one takes over from the other: the
 * messages here and in ledger_msg.h, and the form of a bundle. Raise it with every change that
 * an older process would misunderstand; an upgrade between two numbers is refused.
 */
#define IPC_VERSION 3

enum ipc_type {
    IPC_NONE = 0,
    /* master -> child */
    IPC_LISTEN,   /* struct ipc_listen, with the listening socket */
    IPC_PEER,     /* struct ipc_peer, with one end of a new socket pair */
    IPC_START,    /* no payload: everything was sent, go */
    IPC_DRAIN,    /* no payload: stop accepting, finish, exit */
    IPC_RULES,    /* struct ipc_rules, then the rule state as JSON text */
    IPC_LOG_OPEN, /* struct ipc_log_open, with a file: write there from now on */
    IPC_OUTCOME,  /* to the admin: struct ipc_outcome, then the reason as text */
    IPC_NAMES,    /* struct ipc_names, with the new contents of that file in memory */
    /* child -> master */
    IPC_READY,      /* no payload: this child serves */
    IPC_RULES_DONE, /* struct ipc_rules_done: a revision is in force here */
    IPC_RELOAD,     /* no payload: the admin asks for what SIGHUP does */
    IPC_UPGRADE,    /* no payload: the admin asks for what SIGUSR2 does */
    /* worker, admin <-> ledger (ledger_msg.h) */
    IPC_EVENT,
    IPC_OPLOG,
    IPC_ACK,
    IPC_LEDGER_STATUS,
    IPC_ERASE,
    IPC_ERASE_ACK,
    IPC_GONE,
    IPC_SIGN,
    IPC_SIGNED,
    IPC_NOTICE,
    IPC_ASK,
    IPC_TELL,
    IPC_SHOWN,
    /* master -> admin */
    IPC_WORKER, /* struct ipc_worker, before that process reads its first byte */
    IPC_TYPE_CNT,
};

/* Which process a socket pair leads to. */
enum ipc_role { IPC_ROLE_NONE = 0, IPC_ROLE_WORKER, IPC_ROLE_LEDGER, IPC_ROLE_ADMIN };

struct ipc_listen {
    uint32_t index; /* into config->listens; to the admin: one of the two below */
};

#define ADMIN_LISTEN_SOCKET 0 /* the operators' */
#define ADMIN_LISTEN_WATCH  1 /* admin.listen */

/* Which log a file is for. */
enum ipc_log { IPC_LOG_PROGRAM = 0, IPC_LOG_ACCESS };

struct ipc_log_open {
    uint32_t log; /* enum ipc_log */
};

/* Files that names are looked up by, which are replaced where the sandbox sees the old ones. */
enum ipc_names_file { IPC_NAMES_HOSTS = 0, IPC_NAMES_RESOLV };

struct ipc_names {
    uint32_t file; /* enum ipc_names_file */
};

/* What became of a reload or an upgrade. */
enum ipc_change { IPC_CHANGE_NONE = 0, IPC_CHANGE_RELOAD, IPC_CHANGE_UPGRADE };

struct ipc_outcome {
    uint64_t number; /* counts up over the life of the master and its successors */
    uint32_t what;   /* enum ipc_change */
    uint32_t done;   /* 1: in force; 0: refused, the reason follows */
};

/* Who is of the operators' user and no operator. */
struct ipc_worker {
    uint32_t pid;
};

struct ipc_peer {
    uint32_t role; /* enum ipc_role of the other end */
    uint32_t slot; /* its number, for the log */
};

struct ipc_rules {
    uint64_t revision;
    uint64_t request; /* the admin's own number; comes back in ipc_rules_done */
};

struct ipc_rules_done {
    uint64_t revision;
    uint64_t request;
    uint32_t confirmed; /* workers that have it; from a worker: 1 */
    uint32_t workers;   /* workers that were asked */
};

#endif
