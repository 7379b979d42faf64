/*
 * sandbox.h - a process gives up, for good, what its role does not need. layer: proc
 *
 *   system calls (seccomp-bpf): a list of what the role uses; everything else fails with EPERM.
 *                              None of them reaches another process: no signal, no limit of it
 *   files (Landlock): folders that the role reads or writes; everything else fails with EACCES.
 *                     Since Linux 6.7 also TCP: no new listener, and the ports that the role needs
 *
 * Entered once, when start-up is over and before the first byte of a peer is read. What a
 * process may not do fails as if it had no right to; it is not killed, so that a call nobody
 * thought of costs one request and not all connections of a worker.
 *
 * A kernel may lack either half (Landlock needs Linux 5.13 and its name in the list of security
 * modules). Then the other half is entered all the same, and the result says so.
 */
#ifndef CONSENTD_SANDBOX_H
#define CONSENTD_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/ipc_msg.h"

#define SANDBOX_PATHS_MAX 16 /* folders of the configuration that one role gets */

/* What one role may have. Paths may be NULL, or absent on this machine: then there is nothing. */
struct sandbox_rights {
    enum ipc_role role;
    /*
     * May make unix sockets. Who can connect to them is asked by user, and all roles are one
     * user's: of a worker with this right the admin alone knows that it is no operator.
     */
    bool local;
    bool any_port;         /* may connect to every TCP port */
    const uint16_t *ports; /* else to these, on whichever machine; port_cnt of them */
    size_t port_cnt;
    const char *read[SANDBOX_PATHS_MAX];  /* folders or files, and what is below them */
    const char *write[SANDBOX_PATHS_MAX]; /* folders in which files are made and changed too */
};

/* What the kernel had. */
struct sandbox_result {
    bool calls;         /* system calls are filtered */
    int landlock;       /* version of Landlock in force; 0: files are not restricted */
    int landlock_errno; /* why not */
};

/*
 * Enters it; needs no_new_privs. False only where the kernel has a half and refuses to use it:
 * then nobody knows what is in force, and the process should end.
 */
MUST_USE bool sandbox_enter(const struct sandbox_rights *rights, struct sandbox_result *out,
                            struct fault *f);

#endif
