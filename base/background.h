/* Work that nobody waits for: verifying, importing. */
#pragma once

/* From here on the calling thread takes processor and disk only when nobody else wants them (nice
 * 19, idle I/O class); for good, so give it one of its own. No more than a request: a kernel or a
 * sandbox may refuse. */
void background_thread(void);
