/* transport.h: requests over HTTP, many at a time (private to teacher).
 *
 * A fixed number of places, each of which can hold one request under way.  The one door to libcurl.
 * All functions are Local. */
#ifndef RD_TEACHER_TRANSPORT_H
#define RD_TEACHER_TRANSPORT_H

#include "rd/base.h"

typedef struct transport transport;

typedef struct transport_opts {
    const char *url;
    const char *key;   /* sent as "Authorization: Bearer KEY"; NULL or "": no such header */
    const char *proxy; /* "": none, whatever the environment says */
    double timeout;    /* seconds per request, connecting included */
    int places;        /* >= 1; one costs little before it is used */
} transport_opts;

/* How a request ended.  Valid until the next call of transport_done. */
typedef struct transport_reply {
    int place;
    bool arrived;       /* a whole response came; else failure says what happened */
    bool hopeless;      /* no second try would end otherwise (a certificate, a protocol) */
    int status;         /* of HTTP; 0 when not arrived */
    double retry_after; /* seconds that the server asks to wait, from either form; 0: it does not */
    const char *failure;
    rd_buf *body; /* may be changed */
} transport_reply;

/* Errors: RD_EINPUT for a URL or proxy that libcurl cannot use. */
int transport_create(const transport_opts *o, transport **t);
void transport_free(transport **t); /* requests under way are dropped */
/* Start a POST of JSON in a free place; body is copied. */
int transport_start(transport *t, int place, const char *body, size_t n);
/* Let the requests go on; returns when one has ended, or after so long.  Signals end it earlier. */
int transport_wait(transport *t, double seconds);
/* The next request that has ended; false: none.  Its place is free again. */
bool transport_done(transport *t, transport_reply *r);
/* Stars in place of the key wherever text holds it.  Replies have been through this. */
void transport_blot(const transport *t, char *text, size_t n);

#endif
