/* SPDX-License-Identifier: Apache-2.0 OR MIT
   What the wheel of Bochs' CPU takes from glibc 2.38, by the functions of older ones: they differ in binary literals only. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

long __isoc23_strtol(const char *s, char **end, int base) { return strtol(s, end, base); }
long long __isoc23_strtoll(const char *s, char **end, int base) { return strtoll(s, end, base); }
unsigned long __isoc23_strtoul(const char *s, char **end, int base) { return strtoul(s, end, base); }
unsigned long long __isoc23_strtoull(const char *s, char **end, int base) { return strtoull(s, end, base); }

int __isoc23_sscanf(const char *s, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int read = vsscanf(s, format, arguments);
    va_end(arguments);
    return read;
}
