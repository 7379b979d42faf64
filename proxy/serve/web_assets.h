/*
 * web_assets.h - the files of proxy/web, embedded at build time by proxy/web/embed.py and i18n.py.
 */
#ifndef CONSENTD_WEB_ASSETS_H
#define CONSENTD_WEB_ASSETS_H

#include <stdbool.h>
#include <stddef.h>

#include "consentd/str.h"

/* The bytes of each file, and what its URL carries so that it can be cached for ever. */
extern const struct str web_banner_css, web_page_css, web_frame_css, web_banner_js, web_guard_js,
    web_again_js, web_signals_js;
extern const char web_banner_css_hash[], web_page_css_hash[], web_frame_css_hash[],
    web_banner_js_hash[], web_guard_js_hash[], web_again_js_hash[], web_signals_js_hash[];

/* One language of the interface: a file of proxy/web/i18n. */
struct web_language {
    const char *tag; /* the file's name without .json */
    bool rtl;
    const char *const *texts; /* in the order of web_text_keys */
};

/* Sorted by tag, and by key. */
extern const struct web_language web_languages[];
extern const size_t web_language_cnt;
extern const char *const web_text_keys[];
extern const size_t web_text_cnt;

#endif
