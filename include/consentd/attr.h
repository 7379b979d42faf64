/*
 * attr.h - compiler attributes and tiny macros every file uses (layer: base).
 *
 * Header only, includes nothing of ours. Each macro is written out once here so
 * that code stays free of compiler syntax.
 */
#ifndef CONSENTD_ATTR_H
#define CONSENTD_ATTR_H

#include <stddef.h>

/* The result must be looked at: errors, ownership, or a limit that was hit. */
#define MUST_USE __attribute__((warn_unused_result))

/* Argument number fmt_idx is a printf format, its values start at args_idx (0: va_list). */
#define PRINTF_LIKE(fmt_idx, args_idx) __attribute__((format(printf, fmt_idx, args_idx)))

/* Never comes back: aborts, exits or executes another program. */
#define NORETURN __attribute__((noreturn))

/* The pointer arguments must not be NULL (checked by the compiler where it can). */
#define NONNULL __attribute__((nonnull))

/* Elements of an array; only for real arrays, never for a pointer parameter. */
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* Says that an argument is there for the signature's sake. */
#define UNUSED(x) ((void)(x))

/* The branch that is rare on the hot path. */
#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* The struct of type that holds ptr as its member: for intrusive timers and list nodes. */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
