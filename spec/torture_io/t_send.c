#include "torture.h"
const struct test send_tests[] = {{0}};
