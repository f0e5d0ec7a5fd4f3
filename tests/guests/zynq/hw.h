/* What the programs of the hardware checks share. Each is a `main` of its own in the file of its name; hw.c calls the one it was started as. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int can_main(int argc, char **argv);
int events_main(int argc, char **argv);
int gpio_main(int argc, char **argv);
int i2c_main(int argc, char **argv);
int mtd_main(int argc, char **argv);
int spi_main(int argc, char **argv);
int ubi_main(int argc, char **argv);
int wdt_main(int argc, char **argv);

/* Prints what failed, with errno's text, and exits with 1. */
void fail(const char *what) __attribute__((noreturn));
/* Prints how the program is used, and exits with 2. */
void usage(const char *text) __attribute__((noreturn));
/* A number as C writes them (0x.. or decimal), with K or M behind it if wished. */
long long number(const char *text);
/* Opens for reading and writing (or only reading, where that is refused), or fails. */
int open_device(const char *path);
/* Bytes in hexadecimal, with spaces between, and a line's end. */
void print_bytes(const uint8_t *bytes, int count);
/* Milliseconds of the monotonic clock. */
long long now_ms(void);
/* Until there is something to read, or the deadline of now_ms passes: 1 or 0. */
int wait_readable(int fd, long long deadline);
