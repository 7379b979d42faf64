/*
 * verify_running.h - verification by the running consentd, for auditors who may not read its files.
 */
#ifndef CTL_VERIFY_RUNNING_H
#define CTL_VERIFY_RUNNING_H

#include "ctl_priv.h"

/*
 * Asks the admin to verify and waits for what it finds. from, to: texts of times, or NULL. Returns
 * an enum verify_status (verify.h); VERIFY_INCOMPLETE when it can't be asked.
 */
int verify_running(const struct ctl_args *args, const char *from, const char *to, bool deep);

#endif
