/*
 * header_names.h - the field names that have an id (layer: http).
 *
 * X(ID, "canonical lower-case name"), with the direction and why it is known. To add one: add a
 * line, then run tests/tools/header_hash.py, which prints the table in
 * proxy/http/headers_known.c anew (test_headers fails when the two disagree).
 */
#ifndef CONSENTD_HEADER_NAMES_H
#define CONSENTD_HEADER_NAMES_H

#define HEADER_NAMES(X)                                                                            \
    X(HOST, "host")                               /* where the request goes */                     \
    X(CONTENT_LENGTH, "content-length")           /* framing: the writer makes its own */          \
    X(TRANSFER_ENCODING, "transfer-encoding")     /* framing: the writer makes its own */          \
    X(CONNECTION, "connection")                   /* hop: the writer makes its own */              \
    X(KEEP_ALIVE, "keep-alive")                   /* hop */                                        \
    X(PROXY_CONNECTION, "proxy-connection")       /* hop */                                        \
    X(TE, "te")                                   /* hop */                                        \
    X(TRAILER, "trailer")                         /* hop: trailers are dropped */                  \
    X(UPGRADE, "upgrade")                         /* hop: the writer makes its own */              \
    X(HTTP2_SETTINGS, "http2-settings")           /* hop: h2c is never forwarded */                \
    X(EXPECT, "expect")                           /* request */                                    \
    X(COOKIE, "cookie")                           /* request; filtered */                          \
    X(COOKIE2, "cookie2")                         /* request; always dropped */                    \
    X(SET_COOKIE, "set-cookie")                   /* response; filtered, never merged */           \
    X(SET_COOKIE2, "set-cookie2")                 /* response; always dropped */                   \
    X(VIA, "via")                                 /* both; a list of gateways */                   \
    X(FORWARDED, "forwarded")                     /* request; a client's own is dropped */         \
    X(X_FORWARDED_FOR, "x-forwarded-for")         /* request; the peer is the last element */      \
    X(X_FORWARDED_HOST, "x-forwarded-host")       /* request; never believed */                    \
    X(X_FORWARDED_PORT, "x-forwarded-port")       /* request */                                    \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")     /* request */                                    \
    X(X_REAL_IP, "x-real-ip")                     /* request; a client's own is replaced */        \
    X(PROXY, "proxy")                             /* request; dropped: CGI's HTTP_PROXY */         \
    X(MAX_FORWARDS, "max-forwards")               /* request; counts down for OPTIONS */           \
    X(AUTHORIZATION, "authorization")             /* request */                                    \
    X(PROXY_AUTHENTICATE, "proxy-authenticate")   /* hop */                                        \
    X(PROXY_AUTHORIZATION, "proxy-authorization") /* hop */                                        \
    X(ACCEPT, "accept")                           /* request */                                    \
    X(ACCEPT_CH, "accept-ch")                     /* response; asks the client for hints */        \
    X(ACCEPT_ENCODING, "accept-encoding")         /* request; rewritten to what can be decoded */  \
    X(ACCEPT_LANGUAGE, "accept-language")         /* request */                                    \
    X(ACCEPT_RANGES, "accept-ranges")             /* response */                                   \
    X(AGE, "age")                                 /* response */                                   \
    X(ALLOW, "allow")                             /* response */                                   \
    X(ALT_SVC, "alt-svc")                         /* response; names another endpoint */           \
    X(CACHE_CONTROL, "cache-control")             /* both */                                       \
    X(CLEAR_SITE_DATA, "clear-site-data")         /* response */                                   \
    X(CONTENT_DIGEST, "content-digest")           /* both; wrong once the body changes */          \
    X(CONTENT_DISPOSITION, "content-disposition") /* response */                                   \
    X(CONTENT_ENCODING, "content-encoding")       /* both */                                       \
    X(CONTENT_LANGUAGE, "content-language")       /* both */                                       \
    X(CONTENT_LOCATION, "content-location")       /* both */                                       \
    X(CONTENT_MD5, "content-md5")                 /* both; wrong once the body changes */          \
    X(CONTENT_RANGE, "content-range")             /* response */                                   \
    X(CONTENT_SECURITY_POLICY, "content-security-policy")     /* response */                       \
    X(CSP_REPORT_ONLY, "content-security-policy-report-only") /* response */                       \
    X(CONTENT_TYPE, "content-type")                           /* both */                           \
    X(DATE, "date")                                           /* response; added when missing */   \
    X(DIGEST, "digest")                             /* both; wrong once the body changes */        \
    X(DNT, "dnt")                                   /* request */                                  \
    X(ETAG, "etag")                                 /* response */                                 \
    X(EXPIRES, "expires")                           /* response */                                 \
    X(IF_MATCH, "if-match")                         /* request */                                  \
    X(IF_MODIFIED_SINCE, "if-modified-since")       /* request */                                  \
    X(IF_NONE_MATCH, "if-none-match")               /* request */                                  \
    X(IF_RANGE, "if-range")                         /* request */                                  \
    X(IF_UNMODIFIED_SINCE, "if-unmodified-since")   /* request */                                  \
    X(LAST_MODIFIED, "last-modified")               /* response */                                 \
    X(LINK, "link")                                 /* response; preloads and hints are fetches */ \
    X(LOCATION, "location")                         /* response */                                 \
    X(NEL, "nel")                                   /* response; a reporting endpoint */           \
    X(ORIGIN, "origin")                             /* request */                                  \
    X(PRAGMA, "pragma")                             /* both */                                     \
    X(RANGE, "range")                               /* request */                                  \
    X(REFERER, "referer")                           /* request */                                  \
    X(REFRESH, "refresh")                           /* response; a navigation */                   \
    X(REPORT_TO, "report-to")                       /* response; a reporting endpoint */           \
    X(REPORTING_ENDPOINTS, "reporting-endpoints")   /* response */                                 \
    X(REPR_DIGEST, "repr-digest")                   /* both; wrong once the body changes */        \
    X(RETRY_AFTER, "retry-after")                   /* response */                                 \
    X(SEC_FETCH_DEST, "sec-fetch-dest")             /* request */                                  \
    X(SEC_FETCH_MODE, "sec-fetch-mode")             /* request */                                  \
    X(SEC_FETCH_SITE, "sec-fetch-site")             /* request */                                  \
    X(SEC_GPC, "sec-gpc")                           /* request; the visitor's opt-out signal */    \
    X(SEC_WEBSOCKET_ACCEPT, "sec-websocket-accept") /* response */                                 \
    X(SEC_WEBSOCKET_KEY, "sec-websocket-key")       /* request */                                  \
    X(SEC_WEBSOCKET_VERSION, "sec-websocket-version")         /* both */                           \
    X(SERVER, "server")                                       /* response */                       \
    X(SPECULATION_RULES, "speculation-rules")                 /* response; fetches */              \
    X(STRICT_TRANSPORT_SECURITY, "strict-transport-security") /* response */                       \
    X(TIMING_ALLOW_ORIGIN, "timing-allow-origin")             /* response */                       \
    X(USER_AGENT, "user-agent")                               /* request */                        \
    X(USE_AS_DICTIONARY, "use-as-dictionary")                 /* response */                       \
    X(VARY, "vary")                                           /* response */                       \
    X(WANT_DIGEST, "want-digest")                             /* both */                           \
    X(WARNING, "warning")                                     /* both */                           \
    X(WWW_AUTHENTICATE, "www-authenticate")                   /* response */                       \
    X(X_CONSENT, "x-consent")                           /* request; a client's own is dropped */   \
    X(X_CONTENT_TYPE_OPTIONS, "x-content-type-options") /* response */

#endif
