/* fuzz_safetensors: any bytes as a .safetensors file.  What is accepted can be read whole; what is
 * refused is refused in one line with the file's name.
 *
 * LLVMFuzzerTestOneInput serves libFuzzer (-DRD_LIBFUZZER; begin with tests/corpus).  Otherwise
 * main runs the files it is given, or mutations of tests/corpus/good.safetensors. */
#include "fuzz_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    fuzz_model(bytes, n, false);
    return 0;
}

#ifndef RD_LIBFUZZER
int main(int argc, char **argv)
{
    return fuzz_main(argc, argv, "tests/corpus/good.safetensors", 660, "0123456789[]{},:\"-F");
}
#endif
