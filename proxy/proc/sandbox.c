/*
 * sandbox.c - contract in consentd/sandbox.h.
 *
 * The filter is a list of comparisons, the calls of the event loop first; kernels since 5.11
 * remember which calls are always allowed and run no filter for them. Calls that glibc 2.36
 * (Debian 12) and 2.41 (Debian 13) use for the same function are both listed. Nothing here is
 * told apart by its arguments but socket(): only the families that we speak.
 */
#include "consentd/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "consentd/sanitized.h"

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#else
#define OUR_ARCH 0 /* not known: calls are not filtered */
#endif

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

#define FILTER_MAX 512 /* instructions */

/* --- system calls --- */

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
    SYS_fcntl,
    SYS_ioctl,
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
    SYS_prlimit64,
    SYS_sysinfo,
    SYS_uname,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_getcpu,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_tgkill,
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

static void emit_socket(struct program *p)
{
    static const uint32_t families[] = {AF_INET, AF_INET6, AF_UNIX};

    emit(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 2 + 2 * COUNT_OF(families));
    emit(p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]), 0, 0);
    for (size_t i = 0; i < COUNT_OF(families); i++)
        emit_if_equal(p, families[i], SECCOMP_RET_ALLOW);
    emit(p, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT, 0, 0);
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

static bool filter_calls(enum ipc_role role)
{
    struct program p = {.len = 0};
    struct sock_fprog prog = {.filter = p.code};

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
    emit_socket(&p);
    emit(&p, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM, 0, 0);
    prog.len = p.len;
    if (p.full) {
        errno = E2BIG;
        return false;
    }
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) == 0;
}

/* --- files --- */

#define READ_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_RIGHTS                                                                               \
    (READ_RIGHTS | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                 \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |  \
     LANDLOCK_ACCESS_FS_REFER | LANDLOCK_ACCESS_FS_TRUNCATE)
#define FILE_RIGHTS                                                                                \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)

/* Names, users, certificate authorities, libraries that glibc loads late. Not /etc itself. */
static const char *const system_paths[] = {
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/passwd",
    "/etc/group",
    "/etc/localtime",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
};

/* Everything that this kernel can refuse. */
static uint64_t handled_rights(int version)
{
    uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

    if (version >= 2)
        rights |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3)
        rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
    return rights;
}

static bool allow_path(int ruleset, const char *path, uint64_t rights)
{
    struct landlock_path_beneath_attr attr = {.allowed_access = rights};
    struct stat st;
    bool ok;

    attr.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (attr.parent_fd < 0)
        return errno == ENOENT || errno == EACCES; /* not there, or not for us anyway */
    if (fstat(attr.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
        attr.allowed_access &= FILE_RIGHTS;
    ok = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &attr, 0) == 0;
    close(attr.parent_fd);
    return ok;
}

static bool allow_paths(int ruleset, const struct sandbox_rights *r, uint64_t handled)
{
    bool ok = true;

    for (size_t i = 0; i < COUNT_OF(system_paths); i++)
        ok = ok && allow_path(ruleset, system_paths[i], READ_RIGHTS);
    if (SANITIZED) /* the leak checker reads its own maps and threads */
        ok = ok && allow_path(ruleset, "/proc", READ_RIGHTS);
    for (size_t i = 0; i < SANDBOX_PATHS_MAX; i++) {
        if (r->read[i] != NULL)
            ok = ok && allow_path(ruleset, r->read[i], READ_RIGHTS);
        if (r->write[i] != NULL)
            ok = ok && allow_path(ruleset, r->write[i], WRITE_RIGHTS & handled);
    }
    return ok;
}

static bool restrict_files(const struct sandbox_rights *r, struct sandbox_result *out)
{
    struct landlock_ruleset_attr attr = {0};
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    int ruleset;
    bool ok;

    if (version <= 0) {
        out->landlock_errno = version < 0 ? errno : 0;
        return true; /* ENOSYS: too old; EOPNOTSUPP: not switched on; EPERM: filtered around us */
    }
    attr.handled_access_fs = handled_rights((int)version);
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
    if (ruleset < 0)
        return false;
    ok = allow_paths(ruleset, r, attr.handled_access_fs) &&
         syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    close(ruleset);
    if (ok)
        out->landlock = (int)version;
    return ok;
}

bool sandbox_enter(const struct sandbox_rights *rights, struct sandbox_result *out, struct fault *f)
{
    *out = (struct sandbox_result){0};
    if (!restrict_files(rights, out)) {
        fault_set_errno(f, "Landlock");
        return false;
    }
    if (OUR_ARCH == 0)
        return true;
    out->calls = filter_calls(rights->role);
    if (!out->calls && errno != EINVAL && errno != ENOSYS) {
        fault_set_errno(f, "seccomp");
        return false;
    }
    return true;
}
