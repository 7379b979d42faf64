/*
 * web_assets.h - the files of proxy/web, embedded at build time by proxy/web/embed.py.
 */
#ifndef CONSENTD_WEB_ASSETS_H
#define CONSENTD_WEB_ASSETS_H

#include "consentd/str.h"

/* The bytes of each file, and what its URL carries so that it can be cached for ever. */
extern const struct str web_banner_css, web_banner_js, web_guard_js, web_again_js;
extern const char web_banner_css_hash[], web_banner_js_hash[], web_guard_js_hash[],
    web_again_js_hash[];

#endif
