/*
 * sanitized.h - whether this is a build with AddressSanitizer. layer: base
 *
 * SANITIZED is 1 or 0: gcc says so by a macro, clang by a feature. For the few places that a
 * sanitizer must be told of, or needs room in:
 *
 *   kept memory     blocks that are given back and kept are poisoned (spare.c)
 *   the sandbox     the leak checker reads its own maps and threads (sandbox.c)
 *
 * What the program does for its users never depends on it.
 */
#ifndef CONSENTD_SANITIZED_H
#define CONSENTD_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#endif
