/*
 * sandbox_priv.h - the half of the sandbox that system calls are. layer: proc
 */
#ifndef CONSENTD_SANDBOX_PRIV_H
#define CONSENTD_SANDBOX_PRIV_H

#include "consentd/sandbox.h"

/* From now on the role's calls alone. False: not in force; errno says why. */
MUST_USE bool sandbox_filter_calls(const struct sandbox_rights *rights);

#endif
