/* fuzz_gguf: any bytes as a .gguf file.  What is accepted can be read whole; what is refused is
 * refused in one line with the file's name.
 *
 * LLVMFuzzerTestOneInput serves libFuzzer (-DRD_LIBFUZZER; begin with tests/corpus).  Otherwise
 * main runs the files it is given, or mutations of tests/corpus/good.gguf. */
#include "fuzz_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    fuzz_model(bytes, n, true);
    return 0;
}

#ifndef RD_LIBFUZZER
int main(int argc, char **argv)
{
    return fuzz_main(argc, argv, "tests/corpus/good.gguf", 1664,
                     "\x01\x02\x03\x04\x06\x07\x08\x09\x0a\x0c\x20\x40\xff");
}
#endif
