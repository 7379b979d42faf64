/*
 * error_page.c - contract in consentd/error_page.h.
 */
#include "consentd/error_page.h"

#include "consentd/h1_write.h"

static const char *advice(unsigned status)
{
    switch (status) {
    case 404:
        return "There is nothing at this address. Please check it, or start from the home page.";
    case 408:
        return "Your request took too long to arrive. Please try again.";
    case 413:
        return "What you sent is too large. Please send something smaller.";
    case 414:
        return "The address is too long. Please go back and try a shorter one.";
    case 429:
        return "Too many requests came from your network. Please try again in a moment.";
    case 431:
        return "Your browser sent too much at once. Deleting the cookies of this site helps.";
    case 421:
        return "This server does not serve the site you asked for. Please check the address.";
    case 502:
        return "The site gave no usable answer. Please try again in a minute.";
    case 503:
        return "The site is very busy or being worked on. Please try again in a minute.";
    case 504:
        return "The site took too long to answer. Please try again in a minute.";
    default:
        return status >= 500 ? "Something went wrong here. Please try again in a minute."
                             : "Your browser's request could not be understood. Please go back and "
                               "try again.";
    }
}

bool error_page(struct buf *out, unsigned status)
{
    struct str reason = http_reason(status);

    return buf_printf(out,
                      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                      "<meta name=\"viewport\" content=\"width=device-width\">"
                      "<title>%u %.*s</title></head>\n<body><h1>%.*s</h1>\n<p>%s</p>\n"
                      "</body></html>\n",
                      status, STR_ARGS(reason), STR_ARGS(reason), advice(status));
}
