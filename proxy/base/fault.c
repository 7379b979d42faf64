/*
 * fault.c - contract in consentd/fault.h.
 */
#include "consentd/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

void fault_set(struct fault *f, const char *fmt, ...)
{
    char text[FAULT_TEXT_MAX]; /* the old text may be among the arguments */
    va_list args;

    if (f == NULL)
        return;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof(text), fmt, args) < 0)
        text[0] = '\0';
    va_end(args);
    memcpy(f->text, text, sizeof(text));
}

void fault_set_errno(struct fault *f, const char *fmt, ...)
{
    int why = errno;
    char text[FAULT_TEXT_MAX];
    va_list args;

    if (f == NULL)
        return;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof(text), fmt, args) < 0)
        text[0] = '\0';
    va_end(args);
    fault_set(f, "%s: %s", text, strerror(why));
    errno = why;
}

void fault_prefix(struct fault *f, const char *fmt, ...)
{
    char text[FAULT_TEXT_MAX];
    va_list args;
    int len;

    if (f == NULL)
        return;
    va_start(args, fmt);
    len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (len < 0)
        return;
    fault_set(f, "%s: %s", text, f->text);
}
