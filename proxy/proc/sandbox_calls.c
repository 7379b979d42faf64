/*
 * sandbox_calls.c - the half of the sandbox that system calls are; contract in sandbox_priv.h.
 *
 * The filter is a list of comparisons, the calls of the event loop first; kernels since 5.11
 * remember which calls are always allowed and run no filter for them. Calls that glibc 2.36
 * (Debian 12) and 2.41 (Debian 13) use for the same function are both listed.
 *
 * All roles are one user's, so what this user may do to its other processes is refused here: a
 * call that can name a process may name its own alone, and a descriptor's owner (whom a signal
 * goes to) can't be set. A worker that was taken over can neither end nor starve the ledger.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "consentd/sanitized.h"
#include "sandbox_priv.h"

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#else
#define OUR_ARCH 0 /* not known: calls are not filtered */
#endif

#define FILTER_MAX 512 /* instructions */

/* Every role: the loop, sockets, memory, time, signals, reading files that it may see. */
static const int common_calls[] = {
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
    SYS_epoll_pwait,
    SYS_recvfrom,
    SYS_writev,
    SYS_sendmsg,
    SYS_read,
    SYS_write,
    SYS_sendto,
    SYS_recvmsg,
    SYS_accept4,
    SYS_close,
    SYS_epoll_ctl,
    SYS_readv,
    SYS_futex,
    SYS_clock_gettime,
    SYS_getrandom,
    SYS_mmap,
    SYS_munmap,
    SYS_mremap,
    SYS_mprotect,
    SYS_madvise,
    SYS_brk,
    /* sockets and descriptors */
    SYS_accept,
    SYS_bind,
    SYS_connect,
    SYS_shutdown,
    SYS_getsockopt,
    SYS_setsockopt,
    SYS_getsockname,
    SYS_getpeername,
    SYS_socketpair,
    SYS_recvmmsg,
    SYS_sendmmsg,
    SYS_dup,
    SYS_dup3,
    SYS_pipe2,
    SYS_eventfd2,
    SYS_epoll_create1,
    SYS_epoll_pwait2,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_ppoll,
    SYS_pselect6,
    SYS_close_range,
    /* files: which ones is Landlock's matter */
    SYS_openat,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_statfs,
    SYS_fstatfs,
    SYS_lseek,
    SYS_pread64,
    SYS_preadv,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_readlinkat,
    SYS_getdents64,
    SYS_getcwd,
    SYS_memfd_create,
    SYS_ftruncate,
    SYS_fadvise64,
    /* the process itself */
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    SYS_getpid,
    SYS_gettid,
    SYS_getppid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getrusage,
    SYS_sysinfo,
    SYS_uname,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_getcpu,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_restart_syscall,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_membarrier,
    SYS_exit,
    SYS_exit_group,
#ifdef SYS_open /* x86-64 has the older calls too */
    SYS_open,
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_readlink,
    SYS_dup2,
    SYS_pipe,
    SYS_eventfd,
    SYS_epoll_create,
    SYS_poll,
    SYS_select,
    SYS_time,
    SYS_getrlimit,
    SYS_arch_prctl,
#endif
};

/* The ledger and the admin: files are written, renamed, synced. */
static const int writing_calls[] = {
    SYS_fdatasync, SYS_fsync,     SYS_sync_file_range, SYS_syncfs,   SYS_pwrite64,
    SYS_pwritev,   SYS_fallocate, SYS_truncate,        SYS_renameat, SYS_renameat2,
    SYS_unlinkat,  SYS_mkdirat,   SYS_linkat,          SYS_flock,    SYS_fchmod,
    SYS_fchmodat,  SYS_umask,     SYS_copy_file_range, SYS_sendfile, SYS_utimensat,
#ifdef SYS_open
    SYS_rename,    SYS_unlink,    SYS_mkdir,           SYS_rmdir,    SYS_link,
    SYS_chmod,     SYS_creat,
#endif
};

/* What AddressSanitizer needs, and its leak checker, which stops the process to look at it. */
static const int sanitizer_calls[] = {
    SYS_clone,
    SYS_ptrace,
    SYS_wait4,
    SYS_prctl,
    SYS_process_vm_readv,
    SYS_kill,
    SYS_sched_setaffinity,
#ifdef SYS_getdents
    SYS_getdents,
#endif
};

struct program {
    struct sock_filter code[FILTER_MAX];
    unsigned short len;
    bool full;
};

static void emit(struct program *p, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
    if (p->len == FILTER_MAX) {
        p->full = true;
        return;
    }
    p->code[p->len++] = (struct sock_filter){.code = code, .jt = yes, .jf = no, .k = k};
}

/* Equal: the next instruction; else the one after it. */
static void emit_if_equal(struct program *p, uint32_t value, uint32_t action)
{
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    emit(p, BPF_RET | BPF_K, action, 0, 0);
}

static void emit_allowed(struct program *p, const int *calls, size_t cnt)
{
    for (size_t i = 0; i < cnt; i++)
        emit_if_equal(p, (uint32_t)calls[i], SECCOMP_RET_ALLOW);
}

/* A call whose argument `arg` may only be one of these. */
static void emit_by_argument(struct program *p, int call, unsigned arg, const uint32_t *values,
                             size_t cnt, int refusal)
{
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, (uint8_t)(2 + 2 * cnt));
    emit(p, BPF_LD | BPF_W | BPF_ABS,
         (uint32_t)(offsetof(struct seccomp_data, args) + arg * sizeof(uint64_t)), 0, 0);
    for (size_t i = 0; i < cnt; i++)
        emit_if_equal(p, values[i], SECCOMP_RET_ALLOW);
    emit(p, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)refusal, 0, 0);
}

static void emit_socket(struct program *p, bool local)
{
    static const uint32_t families[] = {AF_INET, AF_INET6, AF_UNIX};

    emit_by_argument(p, SYS_socket, 0, families, COUNT_OF(families) - !local, EAFNOSUPPORT);
}

/* Calls that are told apart by what they are asked for. */
static void emit_asked(struct program *p)
{
    static const uint32_t commands[] = {F_GETFD, F_SETFD,         F_GETFL,     F_SETFL,
                                        F_DUPFD, F_DUPFD_CLOEXEC, F_GET_SEALS, F_ADD_SEALS};
    static const uint32_t requests[] = {SIOCOUTQ, FIONREAD, FIONBIO, TCGETS};
    const uint32_t own = (uint32_t)getpid(), self = 0;

    emit_by_argument(p, SYS_ioctl, 1, requests, COUNT_OF(requests), EPERM);
    emit_by_argument(p, SYS_fcntl, 1, commands, COUNT_OF(commands), EPERM);
    emit_by_argument(p, SYS_tgkill, 0, &own, 1, EPERM); /* abort() */
    emit_by_argument(p, SYS_prlimit64, 0, &self, 1, EPERM);
}

/*
 * Threads, no processes: clone with CLONE_THREAD. What clone3 is asked for can't be looked at, so
 * it does "not exist", upon which the C library takes clone.
 */
static void emit_threads(struct program *p)
{
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4);
    emit(p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]), 0, 0);
    emit(p, BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1);
    emit(p, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
    emit(p, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM, 0, 0);
    emit_if_equal(p, SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
}

bool sandbox_filter_calls(const struct sandbox_rights *rights)
{
    enum ipc_role role = rights->role;
    struct program p = {.len = 0};
    struct sock_fprog prog = {.filter = p.code};

    if (OUR_ARCH == 0) {
        errno = ENOSYS;
        return false;
    }
    emit(&p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
    emit(&p, BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0);
    emit(&p, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
    emit(&p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
    emit_allowed(&p, common_calls, COUNT_OF(common_calls));
    if (role != IPC_ROLE_WORKER)
        emit_allowed(&p, writing_calls, COUNT_OF(writing_calls));
    if (SANITIZED) /* its clone is allowed as a whole */
        emit_allowed(&p, sanitizer_calls, COUNT_OF(sanitizer_calls));
    if (role == IPC_ROLE_LEDGER)
        emit_threads(&p);
    emit_asked(&p);
    emit_socket(&p, rights->local);
    emit(&p, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM, 0, 0);
    prog.len = p.len;
    if (p.full) {
        errno = E2BIG;
        return false;
    }
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) == 0;
}
