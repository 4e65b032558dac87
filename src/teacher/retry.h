/* retry.h: what to do about a call that brought no answer (private to teacher).  All Local. */
#ifndef RD_TEACHER_RETRY_H
#define RD_TEACHER_RETRY_H

#include "rd/base.h"

typedef enum {
    RETRY_LATER,   /* another time it may go well */
    RETRY_NOT,     /* this request will never be answered; others may be */
    RETRY_HOPELESS /* no request will: a wrong key, address or model */
} retry_verdict;
/* Of an HTTP status other than 200. */
retry_verdict retry_status(int status);

/* Seconds to wait after attempt number `attempt` (1, 2, …) has failed: drawn evenly from 0 …
 * min(longest, first * 2^(attempt - 1)) ("full jitter"), after what the server asked for
 * (retry_after; 0: nothing).  A function of its arguments, so that a run can be repeated. */
double retry_delay(double first, double longest, int attempt, double retry_after, uint64_t seed,
                   uint64_t call);

#endif
