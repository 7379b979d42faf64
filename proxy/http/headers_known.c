/*
 * headers_known.c - field name to id by a perfect hash. Printed by tests/tools/header_hash.py.
 *
 * One probe and one comparison: no two known names share a slot.
 */
#include "consentd/headers.h"

#include "headers_priv.h"

static const struct str names[HDR_CNT] = {
#define NAME_ROW(id, name) [HDR_##id] = STR_INIT(name),
    HEADER_NAMES(NAME_ROW)
#undef NAME_ROW
};

static const uint8_t slots[512] = {
    [4] = HDR_ACCEPT_RANGES,
    [5] = HDR_ETAG,
    [9] = HDR_DNT,
    [13] = HDR_COOKIE,
    [17] = HDR_SET_COOKIE2,
    [30] = HDR_X_FORWARDED_PROTO,
    [32] = HDR_REPORT_TO,
    [35] = HDR_CONTENT_DISPOSITION,
    [38] = HDR_LAST_MODIFIED,
    [44] = HDR_REFERER,
    [54] = HDR_WANT_DIGEST,
    [60] = HDR_AGE,
    [69] = HDR_X_CONSENT,
    [70] = HDR_RANGE,
    [74] = HDR_FORWARDED,
    [77] = HDR_HOST,
    [78] = HDR_ACCEPT_ENCODING,
    [80] = HDR_SEC_FETCH_DEST,
    [83] = HDR_PROXY_AUTHENTICATE,
    [85] = HDR_VIA,
    [95] = HDR_UPGRADE,
    [99] = HDR_WARNING,
    [103] = HDR_REPORTING_ENDPOINTS,
    [107] = HDR_CSP_REPORT_ONLY,
    [117] = HDR_SEC_FETCH_MODE,
    [126] = HDR_CLEAR_SITE_DATA,
    [128] = HDR_X_FORWARDED_HOST,
    [129] = HDR_VARY,
    [133] = HDR_WWW_AUTHENTICATE,
    [134] = HDR_CONTENT_LENGTH,
    [139] = HDR_ALLOW,
    [141] = HDR_REFRESH,
    [143] = HDR_TRANSFER_ENCODING,
    [148] = HDR_CONNECTION,
    [151] = HDR_REPR_DIGEST,
    [155] = HDR_CACHE_CONTROL,
    [166] = HDR_RETRY_AFTER,
    [186] = HDR_CONTENT_SECURITY_POLICY,
    [202] = HDR_SEC_WEBSOCKET_KEY,
    [206] = HDR_MAX_FORWARDS,
    [207] = HDR_CONTENT_LOCATION,
    [211] = HDR_STRICT_TRANSPORT_SECURITY,
    [218] = HDR_ACCEPT_CH,
    [227] = HDR_ACCEPT_LANGUAGE,
    [228] = HDR_EXPIRES,
    [236] = HDR_CONTENT_DIGEST,
    [246] = HDR_USER_AGENT,
    [249] = HDR_X_FORWARDED_FOR,
    [256] = HDR_ORIGIN,
    [257] = HDR_CONTENT_ENCODING,
    [259] = HDR_KEEP_ALIVE,
    [260] = HDR_PRAGMA,
    [262] = HDR_X_CONTENT_TYPE_OPTIONS,
    [272] = HDR_X_FORWARDED_PORT,
    [278] = HDR_ALT_SVC,
    [287] = HDR_IF_RANGE,
    [290] = HDR_CONTENT_TYPE,
    [294] = HDR_X_REAL_IP,
    [298] = HDR_EXPECT,
    [328] = HDR_ACCEPT,
    [329] = HDR_IF_NONE_MATCH,
    [337] = HDR_SET_COOKIE,
    [341] = HDR_TIMING_ALLOW_ORIGIN,
    [346] = HDR_SPECULATION_RULES,
    [356] = HDR_PROXY_CONNECTION,
    [368] = HDR_IF_MATCH,
    [369] = HDR_IF_UNMODIFIED_SINCE,
    [373] = HDR_AUTHORIZATION,
    [376] = HDR_NEL,
    [380] = HDR_USE_AS_DICTIONARY,
    [381] = HDR_PROXY,
    [383] = HDR_CONTENT_RANGE,
    [384] = HDR_SEC_GPC,
    [387] = HDR_SEC_WEBSOCKET_VERSION,
    [388] = HDR_SEC_WEBSOCKET_ACCEPT,
    [398] = HDR_TRAILER,
    [401] = HDR_SERVER,
    [403] = HDR_CONTENT_MD5,
    [406] = HDR_CONTENT_LANGUAGE,
    [411] = HDR_PROXY_AUTHORIZATION,
    [421] = HDR_DATE,
    [425] = HDR_COOKIE2,
    [449] = HDR_LINK,
    [452] = HDR_HTTP2_SETTINGS,
    [481] = HDR_SEC_FETCH_SITE,
    [484] = HDR_IF_MODIFIED_SINCE,
    [496] = HDR_LOCATION,
    [503] = HDR_DIGEST,
    [506] = HDR_TE,
};

struct str header_name(enum header_id id)
{
    return names[id];
}

enum header_id header_id_of(struct str name)
{
    const uint8_t *p = (const uint8_t *)name.ptr;
    unsigned slot;
    enum header_id id;

    if (name.len < 2)
        return HDR_OTHER;
    /* 0x20 folds letters; what it does to other bytes is caught by the comparison */
    slot = (unsigned)name.len * 13 + (p[0] | 0x20u) * 83 + (p[name.len / 2] | 0x20u) * 47 +
           (p[name.len * 3 / 4] | 0x20u) * 146 + (p[name.len - 1] | 0x20u) * 51;
    id = (enum header_id)slots[slot % COUNT_OF(slots)];
    return id != HDR_OTHER && str_eq_fold(name, names[id]) ? id : HDR_OTHER;
}
