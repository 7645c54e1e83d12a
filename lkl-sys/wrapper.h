#include <lkl_host.h>
