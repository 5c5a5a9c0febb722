/* SPDX-License-Identifier: MIT */
/* Read ahead of the library's file of this name. From 3.6.6 on a client of TLS 1.2
 * refuses the RSA-PSS signatures that it offers, and with them every server that
 * has an RSA key and prefers these: most that have OpenSSL and no TLS 1.3. What is
 * offered is checked by the library next, and the signature as before. */
#include "common.h"
#include "ssl_misc.h"

static inline int ropewalk_sig_alg_is_supported(const mbedtls_ssl_context *ssl, uint16_t sig_alg) {
    return sig_alg == MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA256 ||
           sig_alg == MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA384 ||
           sig_alg == MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA512 ||
           mbedtls_ssl_sig_alg_is_supported(ssl, sig_alg);
}

#define mbedtls_ssl_sig_alg_is_supported ropewalk_sig_alg_is_supported
